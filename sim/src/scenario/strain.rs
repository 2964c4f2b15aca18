//! Faults that seldom come together by chance, and together show what neither shows alone.

use rand_chacha::ChaCha20Rng;
use tidings_types::NodeId;

use super::draw::Happenings;
use super::{Cheat, Fault, Happening, Shape};
use crate::randomness::Draw;
use crate::time::VirtualTime;

/// What a run is put under from its first moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strain {
    /// One of seven nodes gives some peers nothing of its log, so that they take it from others,
    /// and one of those flips bits in what it sends.
    Garbling,
    /// One of four nodes says what it holds, sends nothing of it and does not vote, while another
    /// one loses what is on its way to it now and then, in a run so short that the last loss
    /// counts.
    Silence,
    /// Two of seven nodes want every period to begin early.
    Hurry,
}

impl Strain {
    /// Every strain there is.
    pub const ALL: &[Self] = &[Self::Garbling, Self::Silence, Self::Hurry];

    /// The network that it is put on.
    pub(super) fn shape(self, drawn: Shape) -> Shape {
        let (nodes, length_ms) = match self {
            Self::Silence => (4, 8_000),
            Self::Garbling | Self::Hurry => (7, drawn.length_ms),
        };
        Shape { nodes: u32::from(nodes), shards: 1, replication: nodes, length_ms, ..drawn }
    }

    /// What it does to that network.
    pub(super) fn faults(
        self,
        nodes: &[NodeId],
        shape: &Shape,
        rng: &mut ChaCha20Rng,
    ) -> Happenings {
        let (first, others) = pick_out(nodes, rng);
        let (second, rest) = pick_out(&others, rng);
        match self {
            Self::Garbling => {
                let victims = rest.iter().copied().take(3).collect();
                let garbling = Cheat::Garble { permille: 300 };
                [(first, Cheat::Starve { victims }), (second, garbling)].map(cheats).into()
            }
            Self::Hurry => [first, second].map(|node| cheats((node, Cheat::Hurry))).into(),
            Self::Silence => {
                let victims = nodes.iter().copied().collect();
                let mut faults = vec![cheats((first, Cheat::Starve { victims }))];
                faults.extend(losses(&others, shape, rng));
                faults
            }
        }
    }
}

/// All connections of one node at a time break, and what was on its way is gone.
fn losses(nodes: &[NodeId], shape: &Shape, rng: &mut ChaCha20Rng) -> Happenings {
    let mut losses = Happenings::new();
    let mut at_ms = rng.below(500);
    while at_ms < shape.length_ms {
        let (one, others) = pick_out(nodes, rng);
        for other in others {
            let fault = Happening::Fault(Fault::Reset { one, other });
            losses.push((VirtualTime::from_ms(at_ms), fault));
        }
        at_ms += 1 + rng.below(1_000);
    }
    losses
}

fn cheats((node, cheat): (NodeId, Cheat)) -> (VirtualTime, Happening) {
    (VirtualTime::default(), Happening::Fault(Fault::Cheat { node, cheat }))
}

/// One node, and the others.
fn pick_out(nodes: &[NodeId], rng: &mut ChaCha20Rng) -> (NodeId, Vec<NodeId>) {
    let picked = rng.pick(nodes).copied().unwrap_or(NodeId(1));
    (picked, nodes.iter().copied().filter(|node| *node != picked).collect())
}
