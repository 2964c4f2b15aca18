//! How much one caller, and all together, may ask for (XMTP-010).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tidings_gateway::AddressRates;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Status};

use crate::config::Limits;

/// Lets requests in.
#[derive(Debug)]
pub struct Gate {
    rates: AddressRates,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// A place among the requests being answered, held until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            rates: AddressRates::new(limits.address_requests_per_second, limits.address_burst),
            requests: Arc::new(Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS))),
            streams: Arc::new(Semaphore::new(limits.streams_max.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` beyond the address's rate, `UNAVAILABLE` beyond what is answered at
    /// once.
    pub fn enter<T>(&self, request: &Request<T>) -> Result<Place, Status> {
        self.admit(address(request), &self.requests)
    }

    /// Lets a request for a stream in.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn stream<T>(&self, request: &Request<T>) -> Result<Place, Status> {
        self.admit(address(request), &self.streams)
    }

    fn admit(&self, address: Option<IpAddr>, places: &Arc<Semaphore>) -> Result<Place, Status> {
        if let Some(address) = address
            && !self.rates.take(address, Instant::now())
        {
            return Err(Status::resource_exhausted("too many requests from this address"));
        }
        let permit = Arc::clone(places).try_acquire_owned();
        let permit = permit.map_err(|_| Status::unavailable("too many requests at once"))?;
        Ok(Place { _permit: permit })
    }
}

fn address<T>(request: &Request<T>) -> Option<IpAddr> {
    let extensions = request.extensions();
    let plain = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let tls = || {
        let info = extensions.get::<TlsConnectInfo<TcpConnectInfo>>()?;
        info.get_ref().remote_addr()
    };
    plain.or_else(tls).as_ref().map(SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn request(last: u8) -> Request<()> {
        let mut request = Request::new(());
        let address = SocketAddr::from(([10, 0, 0, last], 1));
        let info = TcpConnectInfo { local_addr: None, remote_addr: Some(address) };
        request.extensions_mut().insert(info);
        request
    }

    #[test]
    fn addresses_and_places_are_bounded() {
        // covers: XMTP-010
        let gate = Gate::new(&Limits {
            address_requests_per_second: 1,
            address_burst: 3,
            requests_max: 2,
            streams_max: 1,
            ..Limits::default()
        });
        let code = |result: Result<Place, Status>| result.err().map(|status| status.code());
        let (first, second) = (gate.enter(&request(1)).unwrap(), gate.enter(&request(1)).unwrap());
        assert_eq!(code(gate.enter(&request(2))), Some(Code::Unavailable));
        let stream = gate.stream(&request(2)).unwrap();
        assert_eq!(code(gate.stream(&request(2))), Some(Code::Unavailable));
        drop((first, stream));
        assert_eq!(code(gate.enter(&request(1))), None);
        // The first address has used up its burst; what it holds has nothing to do with that.
        drop(second);
        assert_eq!(code(gate.enter(&request(1))), Some(Code::ResourceExhausted));
        assert_eq!(code(gate.enter(&request(3))), None);
    }
}
