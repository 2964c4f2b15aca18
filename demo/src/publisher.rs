//! A publisher that talks to nodes as a gateway does, with the devnet payer's session key.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tidings_envelope::api::{
    MEDIA_TYPE, PublishRequest, PublishResponse, PublishResult, TopicCursor, TopicPage, TopicQuery,
};
use tidings_envelope::{
    AckLevel, BatchHeader, ClientEnvelope, EnvelopeBody, Lane, OrderedReceipt, Receipt, Registry,
    Target, Topic,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{
    ErrorCode, EthereumAddress, NetworkId, NodeId, Period, PicoDollars, Position, Wire,
};

use crate::network::Network;

/// Any length will do.
const TEMPTING_BYTES: usize = 300;

/// What became of one envelope.
#[derive(Debug, Clone)]
pub enum Published {
    /// It is stored, and the receipt was verified.
    Stored(Box<Receipt>),
    /// The ordered lane decided; the certificate was verified.
    Ordered(Box<OrderedReceipt>),
    /// It was refused.
    Refused(ErrorCode),
}

/// Signs batches as the devnet's payer and sends them to nodes.
#[derive(Debug, Clone)]
pub struct Publisher {
    http: reqwest::Client,
    network: NetworkId,
    registry: Registry,
    payer: EthereumAddress,
    session: SigningKey,
}

impl Publisher {
    /// A publisher with the keys of `network`'s gateway.
    ///
    /// # Errors
    /// When the keys are not where `devnet-init` puts them.
    pub fn new(network: &Network) -> Result<Self> {
        Self::open(network.folder(), network.registry()?)
    }

    /// A publisher with the gateway's keys in a devnet's folder.
    ///
    /// # Errors
    /// When the keys are not where `devnet-init` puts them.
    pub fn open(folder: &Path, registry: Registry) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("gateway/session.key"))?;
        let mut secret = [0; 32];
        hex::decode_to_slice(text.trim(), &mut secret)?;
        let payer = registry.payers.first().context("the registry lists no payer")?.address;
        let http =
            reqwest::Client::builder().timeout(std::time::Duration::from_secs(20)).build()?;
        let network = registry.network_id();
        Ok(Self { http, network, registry, payer, session: SigningKey::from_secret(&secret) })
    }

    /// The network's registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The network's id.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The period that a node is in.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn period(&self, node: &str) -> Result<Period> {
        let status = self.http.get(format!("{node}/v1/status")).send().await?;
        let status: serde_json::Value = serde_json::from_slice(&status.bytes().await?)?;
        Ok(Period(status["period"].as_u64().context("the status names no period")?))
    }

    /// A signed envelope for the topic of `key`.
    ///
    /// # Errors
    /// When the payload is too long.
    pub fn envelope(
        &self,
        key: &SigningKey,
        lane: Lane,
        expected: Option<Position>,
        period: Period,
        payload: Vec<u8>,
    ) -> Result<ClientEnvelope> {
        let topic = Topic::group(&key.public_key());
        let body = EnvelopeBody {
            lane,
            expected_position: expected,
            ..EnvelopeBody::broadcast(topic, self.payer, period.plus(1), payload.try_into()?)
        };
        Ok(body.sign(key, self.network))
    }

    /// A publish request for `node`, signed.
    ///
    /// # Errors
    /// When there are too many envelopes.
    pub fn request(
        &self,
        node: NodeId,
        level: AckLevel,
        envelopes: &[ClientEnvelope],
    ) -> Result<PublishRequest> {
        let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.body.id()).collect();
        let body = &envelopes.first().context("a batch is never empty")?.body;
        let header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer: self.payer,
            session_key: self.session.public_key(),
            target: match body.lane {
                Lane::Broadcast => Target::Node(node),
                Lane::Ordered => Target::Shard(body.topic.shard(self.registry.shard_count)),
            },
            registry_epoch: self.registry.epoch,
            not_after: body.not_after,
            max_fee: PicoDollars(u64::MAX),
            count: u32::try_from(ids.len())?,
            root: BatchHeader::root_of(&ids),
        };
        let bytes: Result<Vec<_>, _> =
            envelopes.iter().map(|envelope| envelope.to_wire().try_into()).collect();
        Ok(PublishRequest {
            version: PROTOCOL_VERSION,
            level,
            batch: header.sign(&self.session, self.network),
            ids: ids.try_into()?,
            envelopes: bytes?.try_into()?,
        })
    }

    /// Has a node take something in, so that it has a log of its own to lie about: a gateway may
    /// prefer the others all the time.
    ///
    /// # Errors
    /// When the node does not answer, or answers with a receipt that does not verify.
    pub async fn tempt(&self, (url, id): (&str, NodeId)) -> Result<()> {
        let period = self.period(url).await?;
        let key = SigningKey::from_secret(&[7; 32]);
        let payload = vec![0; TEMPTING_BYTES];
        let envelope = self.envelope(&key, Lane::Broadcast, None, period, payload)?;
        self.publish((url, id), AckLevel::Local, &[envelope]).await?;
        Ok(())
    }

    /// Publishes at one node and verifies what it answers; one fate per envelope.
    ///
    /// # Errors
    /// When the node does not answer, refuses the request, or answers with a receipt that does
    /// not verify.
    pub async fn publish(
        &self,
        node: (&str, NodeId),
        level: AckLevel,
        envelopes: &[ClientEnvelope],
    ) -> Result<Vec<Published>> {
        let fates = self.publish_unverified(node, level, envelopes).await?;
        for (fate, envelope) in fates.iter().zip(envelopes) {
            match fate {
                Published::Refused(_) => {}
                Published::Ordered(receipt) => receipt.verify(self.network, &self.registry)?,
                Published::Stored(receipt) => {
                    receipt.verify(self.network, &self.registry, level)?;
                    let sent = envelope.body.id();
                    ensure!(receipt.header.envelope_id == sent, "a receipt of another envelope");
                }
            }
        }
        Ok(fates)
    }

    /// Publishes at one node and believes what it answers, as only a benchmark may.
    ///
    /// # Errors
    /// When the node does not answer, refuses the request, or answers nonsense.
    pub async fn publish_unverified(
        &self,
        (url, id): (&str, NodeId),
        level: AckLevel,
        envelopes: &[ClientEnvelope],
    ) -> Result<Vec<Published>> {
        let request = self.request(id, level, envelopes)?;
        let response: PublishResponse = self.post(&format!("{url}/v1/publish"), &request).await?;
        ensure!(response.results.len() == envelopes.len(), "one result per envelope");
        let fate = |(index, result): (usize, &PublishResult)| {
            Ok(match result {
                PublishResult::Refused { code } => Published::Refused(*code),
                PublishResult::Ordered(receipt) => Published::Ordered(Box::new(receipt.clone())),
                PublishResult::Stored { .. } => {
                    let receipt = response.receipt(index).context("the checkpoint is missing")?;
                    Published::Stored(Box::new(receipt))
                }
            })
        };
        response.results.iter().enumerate().map(fate).collect()
    }

    /// Everything that a node holds of a topic, page by page.
    ///
    /// # Errors
    /// When the node does not answer, or skips or repeats an entry.
    pub async fn read(&self, node: &str, topic: Topic) -> Result<Vec<TopicPage>> {
        let mut cursor = TopicCursor::default();
        let mut pages = Vec::new();
        loop {
            let query = TopicQuery::new(topic, cursor.clone(), 1_000);
            let page: TopicPage = self.post(&format!("{node}/v1/query"), &query).await?;
            advance(&mut cursor, &page)?;
            let more = page.more == 1;
            pages.push(page);
            if !more {
                return Ok(pages);
            }
        }
    }

    async fn post<T: Wire>(&self, url: &str, body: &impl Wire) -> Result<T> {
        let request = self.http.post(url).header("content-type", MEDIA_TYPE).body(body.to_wire());
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(T::from_wire(&bytes)?)
    }
}

/// Moves the cursor over a page, which must continue it without a gap.
fn advance(cursor: &mut TopicCursor, page: &TopicPage) -> Result<()> {
    use tidings_envelope::api::LogCursor;
    for receipt in page.ordered.iter() {
        let position = receipt.position().context("an entry without a position")?;
        ensure!(position == cursor.position.plus(1), "position {position} out of turn");
        cursor.position = position;
    }
    let mut logs = cursor.logs.clone().into_vec();
    for entry in page.broadcast.iter() {
        let header = &entry.entry.header;
        let place = logs.iter().position(|known| known.log == entry.log).unwrap_or_else(|| {
            logs.push(LogCursor {
                log: entry.log,
                next: Default::default(),
                previous: Default::default(),
            });
            logs.len() - 1
        });
        let known = &mut logs[place];
        let continues = header.topic_index == known.next && header.previous == known.previous;
        ensure!(continues, "entry {} of {} out of turn", header.topic_index, entry.log);
        known.next = header.topic_index.plus(1);
        known.previous = header.hash();
    }
    cursor.logs = logs.try_into()?;
    Ok(())
}
