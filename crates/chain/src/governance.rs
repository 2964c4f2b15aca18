//! What token holders vote on, as the contracts have it.

use std::fmt;

use alloy::contract::Error as ContractError;
use alloy::eips::BlockId;
use alloy::primitives::{B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::{SolEvent, SolValue};
use tidings_types::EthereumAddress;

use crate::contracts::{NodeRegistry, TidingsGovernor, TidingsTimelock, TidingsToken};
use crate::snapshot::Parameters;
use crate::watcher::BLOCKS_PER_SEARCH;
use crate::{ChainError, DEFINITIONS, Deployment, Endpoints, address, ethereum_address};

/// A call that is carried out if the vote is won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedCall {
    /// The contract.
    pub to: EthereumAddress,
    /// What is sent along, in wei.
    pub value: U256,
    /// The function and its arguments.
    pub data: Bytes,
}

/// A proposal as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its place among all proposals, from 1.
    pub number: u32,
    /// What the governor knows it by: a hash of all that it is.
    pub id: U256,
    /// Who made it.
    pub proposer: EthereumAddress,
    /// What it does, in this order.
    pub calls: Vec<ProposedCall>,
    /// What the proposer says of it.
    pub description: String,
    /// When the vote begins, in seconds since 1970; who has votes then may vote.
    pub vote_begins: u64,
    /// The last second of the vote.
    pub vote_ends: u64,
}

/// How far a proposal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalState {
    /// The vote has not begun.
    Pending,
    /// The vote is under way.
    Active,
    /// Its proposer took it back.
    Canceled,
    /// The vote was lost, or too few voted.
    Defeated,
    /// The vote was won, and nobody has queued it.
    Succeeded,
    /// It waits in the timelock, or has waited and can be carried out.
    Queued,
    /// It was not carried out in time; the timelock of this network sets none.
    Expired,
    /// It was carried out.
    Executed,
}

/// How a proposal stands at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalStanding {
    /// How far it has come.
    pub state: ProposalState,
    /// Votes for it, in token units of 10⁻¹⁸.
    pub votes_for: U256,
    /// Votes against it.
    pub votes_against: U256,
    /// Votes of those who abstain, which count for the quorum.
    pub votes_abstaining: U256,
    /// How many votes for or abstaining it needs; not known before the vote begins.
    pub quorum: Option<U256>,
    /// From when on it can be carried out, once it is queued.
    pub executable_from: Option<u64>,
}

/// Who admits nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The council does.
    Council,
    /// A vote of token holders does.
    TokenVote,
    /// Whoever has a bond joins.
    Open,
}

/// How the network is governed at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governance {
    /// The block's time, in seconds since 1970.
    pub time: u64,
    /// Who admits nodes.
    pub phase: Phase,
    /// From a proposal to its vote, in seconds.
    pub voting_delay: u64,
    /// How long a vote lasts, in seconds.
    pub voting_period: u64,
    /// What a proposer must have, in token units of 10⁻¹⁸.
    pub proposal_threshold: U256,
    /// How much of the supply must vote, in hundredths.
    pub quorum_percent: u64,
    /// How long what was won waits, in seconds.
    pub timelock: u64,
}

/// What an account can vote with at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Votes {
    /// Its tokens, in units of 10⁻¹⁸.
    pub tokens: U256,
    /// What was delegated to it, its own tokens only if it delegated to itself.
    pub votes: U256,
    /// Whom it delegated to.
    pub delegate: Option<EthereumAddress>,
}

impl Proposal {
    /// The hash by which queueing and carrying out name the description.
    #[must_use]
    pub fn description_hash(&self) -> B256 {
        keccak256(self.description.as_bytes())
    }
}

/// The id that the governor gives a proposal.
#[must_use]
pub fn proposal_id(calls: &[ProposedCall], description: &str) -> U256 {
    let targets: Vec<_> = calls.iter().map(|call| address(call.to)).collect();
    let values: Vec<_> = calls.iter().map(|call| call.value).collect();
    let data: Vec<_> = calls.iter().map(|call| call.data.clone()).collect();
    let hashed = (targets, values, data, keccak256(description.as_bytes())).abi_encode_params();
    keccak256(hashed).into()
}

/// A view of the chain as of one block that most providers have.
#[derive(Debug, Clone)]
pub struct GovernanceReader {
    endpoints: Endpoints,
    deployment: Deployment,
    block: u64,
}

impl GovernanceReader {
    /// Reads as of the newest block.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] when too few providers answer.
    pub async fn at_head(endpoints: Endpoints, deployment: Deployment) -> Result<Self, ChainError> {
        let block = endpoints.height().await?;
        Ok(Self { endpoints, deployment, block })
    }

    /// How the network is governed.
    ///
    /// # Errors
    /// [`ChainError`] when the contracts cannot be asked.
    pub async fn governance(&self) -> Result<Governance, ChainError> {
        let (this, at) = (self.deployment, BlockId::number(self.block));
        let block = self.block;
        self.endpoints
            .agreed(move |provider| async move {
                let header = provider.get_block(at).await.map_err(|error| error.to_string())?;
                let header = header.ok_or_else(|| format!("no block {block}"))?;
                let found = governance(this, provider, at, header.header.timestamp).await;
                found.map_err(|error| error.to_string())
            })
            .await
    }

    /// The values of all parameters, in the order of [`DEFINITIONS`](crate::DEFINITIONS).
    ///
    /// # Errors
    /// [`ChainError`] when the contract cannot be asked.
    pub async fn parameters(&self) -> Result<Vec<u64>, ChainError> {
        let (contract, at) = (address(self.deployment.parameters), BlockId::number(self.block));
        let ask = move |provider: DynProvider| async move {
            Parameters::read(contract, &provider, at).await
        };
        let found = self.endpoints.agreed(ask).await?;
        Ok(DEFINITIONS.iter().map(|definition| found.value(definition.parameter)).collect())
    }

    /// All proposals, the oldest first.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be asked.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, ChainError> {
        let governor = address(self.deployment.governor);
        let mut found: Vec<Proposal> = Vec::new();
        let mut first = self.deployment.first_block;
        while first <= self.block {
            let last = self.block.min(first.saturating_add(BLOCKS_PER_SEARCH - 1));
            let filter = Filter::new().address(governor).from_block(first).to_block(last);
            let filter = filter.event_signature(TidingsGovernor::ProposalCreated::SIGNATURE_HASH);
            let ask = move |provider: DynProvider| {
                let filter = filter.clone();
                async move {
                    let logs =
                        provider.get_logs(&filter).await.map_err(|error| error.to_string())?;
                    logs.iter().map(proposal).collect::<Result<Vec<_>, String>>()
                }
            };
            found.extend(self.endpoints.agreed(ask).await?);
            first = last + 1;
        }
        for (number, proposal) in (1..).zip(&mut found) {
            proposal.number = number;
        }
        Ok(found)
    }

    /// How a proposal stands.
    ///
    /// # Errors
    /// [`ChainError`] when the governor cannot be asked.
    pub async fn standing(&self, proposal: &Proposal) -> Result<ProposalStanding, ChainError> {
        let (this, at) = (self.deployment, BlockId::number(self.block));
        let (id, snapshot) = (proposal.id, U256::from(proposal.vote_begins));
        self.endpoints
            .agreed(move |provider| async move {
                let governor = TidingsGovernor::new(address(this.governor), provider);
                let state = governor.state(id).block(at).call().await?;
                let votes = governor.proposalVotes(id).block(at).call().await?;
                let eta = governor.proposalEta(id).block(at).call().await?;
                let state = ProposalState::from_number(state);
                let quorum = match state {
                    // The governor counts votes of the past only.
                    ProposalState::Pending | ProposalState::Canceled => None,
                    _ => Some(governor.quorum(snapshot).block(at).call().await?),
                };
                Ok::<_, ContractError>(ProposalStanding {
                    state,
                    votes_for: votes.forVotes,
                    votes_against: votes.againstVotes,
                    votes_abstaining: votes.abstainVotes,
                    quorum,
                    executable_from: Some(seconds(eta)).filter(|eta| *eta != 0),
                })
            })
            .await
    }

    /// What an account can vote with now.
    ///
    /// # Errors
    /// [`ChainError`] when the token cannot be asked.
    pub async fn votes(&self, account: EthereumAddress) -> Result<Votes, ChainError> {
        let (this, at) = (self.deployment, BlockId::number(self.block));
        let account = address(account);
        self.endpoints
            .agreed(move |provider| async move {
                let token = TidingsToken::new(address(this.token), provider);
                let delegate = token.delegates(account).block(at).call().await?;
                Ok::<_, ContractError>(Votes {
                    tokens: token.balanceOf(account).block(at).call().await?,
                    votes: token.getVotes(account).block(at).call().await?,
                    delegate: (!delegate.is_zero()).then(|| ethereum_address(delegate)),
                })
            })
            .await
    }

    /// What an account can vote with on a proposal whose vote has begun, and whether it did.
    ///
    /// # Errors
    /// [`ChainError`] when the governor cannot be asked.
    pub async fn ballot(
        &self,
        proposal: &Proposal,
        account: EthereumAddress,
    ) -> Result<(U256, bool), ChainError> {
        let (this, at) = (self.deployment, BlockId::number(self.block));
        let (id, account) = (proposal.id, address(account));
        let snapshot = U256::from(proposal.vote_begins);
        self.endpoints
            .agreed(move |provider| async move {
                let governor = TidingsGovernor::new(address(this.governor), provider);
                let votes = governor.getVotes(account, snapshot).block(at).call().await?;
                let has_voted = governor.hasVoted(id, account).block(at).call().await?;
                Ok::<_, ContractError>((votes, has_voted))
            })
            .await
    }
}

async fn governance(
    deployment: Deployment,
    provider: DynProvider,
    at: BlockId,
    time: u64,
) -> Result<Governance, ContractError> {
    let registry = NodeRegistry::new(address(deployment.registry), &provider);
    let governor = TidingsGovernor::new(address(deployment.governor), &provider);
    let timelock = TidingsTimelock::new(address(deployment.timelock), &provider);
    Ok(Governance {
        time,
        phase: Phase::from_number(registry.phase().block(at).call().await?),
        voting_delay: seconds(governor.votingDelay().block(at).call().await?),
        voting_period: seconds(governor.votingPeriod().block(at).call().await?),
        proposal_threshold: governor.proposalThreshold().block(at).call().await?,
        quorum_percent: seconds(governor.quorumNumerator_1().block(at).call().await?),
        timelock: seconds(timelock.getMinDelay().block(at).call().await?),
    })
}

fn proposal(log: &Log) -> Result<Proposal, String> {
    let event = TidingsGovernor::ProposalCreated::decode_log(&log.inner);
    let event = event.map_err(|error| error.to_string())?.data;
    let parts = event.targets.into_iter().zip(event.values).zip(event.calldatas);
    let calls =
        parts.map(|((to, value), data)| ProposedCall { to: ethereum_address(to), value, data });
    Ok(Proposal {
        number: 0,
        id: event.proposalId,
        proposer: ethereum_address(event.proposer),
        calls: calls.collect(),
        description: event.description,
        vote_begins: seconds(event.voteStart),
        vote_ends: seconds(event.voteEnd),
    })
}

/// A time or span of a contract; one beyond all bounds is the largest.
fn seconds(number: U256) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl ProposalState {
    /// As the governor numbers them; what it does not number counts as lost.
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Pending,
            1 => Self::Active,
            2 => Self::Canceled,
            4 => Self::Succeeded,
            5 => Self::Queued,
            6 => Self::Expired,
            7 => Self::Executed,
            _ => Self::Defeated,
        }
    }
}

impl fmt::Display for ProposalState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Canceled => "canceled",
            Self::Defeated => "defeated",
            Self::Succeeded => "succeeded",
            Self::Queued => "queued",
            Self::Expired => "expired",
            Self::Executed => "executed",
        })
    }
}

impl Phase {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Council,
            1 => Self::TokenVote,
            _ => Self::Open,
        }
    }

    /// 1 to 3, in the order in which they are walked through.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Council => 1,
            Self::TokenVote => 2,
            Self::Open => 3,
        }
    }
}
