//! What a vote can do: as calls to contracts, and in words that are read from the calls.

use std::str::FromStr;

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall;
use clap::Args;
use tidings_chain::contracts::{
    AccessManager, DevnetDollar, NetworkParameters, NodeRegistry, PayerVault, TidingsGovernor,
    TidingsTimelock, TidingsToken, UsageSettlement,
};
use tidings_chain::{DEFINITIONS, Definition, Deployment, ProposedCall, address, ethereum_address};
use tidings_types::EthereumAddress;

use super::amount::{Amount, Dollars, Tokens};
use super::moment::span;
use super::setting::Setting;

/// The most calls that one proposal may make; each costs gas when it is carried out.
const CALLS_MAX: usize = 64;
/// The most bytes of a call that is written by hand.
const CALL_BYTES_MAX: usize = 16_384;
/// How much of a call that nobody can read is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 36;
/// The council's role, as `contracts/src/Roles.sol` numbers them.
const ROLE_COUNCIL: u64 = 1;
const ROLES: [&str; 4] =
    ["the administrator's", "the council's", "the court's", "the settlement's"];

/// What is to be voted on; several things are carried out together, in this order.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct Actions {
    /// Go to the next phase of admission, from which there is no way back
    #[arg(long)]
    advance_phase: bool,
    /// Let a candidate into probation, in the second phase
    #[arg(long, value_name = "NODE")]
    admit: Vec<u32>,
    /// Set a parameter; `tidings gov parameters` lists them with their bounds
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<Setting>,
    /// Put an account on the council, which admits nodes in the first phase
    #[arg(long, value_name = "ADDRESS")]
    seat: Vec<EthereumAddress>,
    /// Take an account off the council
    #[arg(long, value_name = "ADDRESS")]
    unseat: Vec<EthereumAddress>,
    /// Give the registry of nodes another guardian contract
    #[arg(long, value_name = "ADDRESS")]
    guardian: Option<EthereumAddress>,
    /// Give the protocol's share to another account
    #[arg(long, value_name = "ADDRESS")]
    treasury: Option<EthereumAddress>,
    /// Name the settlement contract that is to follow once every payer had time to leave
    #[arg(long, value_name = "ADDRESS")]
    settlement: Option<EthereumAddress>,
    /// Pay tokens out of what the timelock holds
    #[arg(long, value_name = "ADDRESS=TOKENS")]
    pay: Vec<Payment>,
    /// Make any call of a contract, the function and its arguments in hex
    #[arg(long = "call", value_name = "ADDRESS:HEX")]
    calls: Vec<RawCall>,
}

/// Tokens for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Payment(EthereumAddress, Tokens);

/// A call that is written by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RawCall(EthereumAddress, Vec<u8>);

/// The text is nothing that can be voted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ActionInvalid(&'static str);

impl FromStr for Payment {
    type Err = ActionInvalid;

    fn from_str(text: &str) -> Result<Self, ActionInvalid> {
        let invalid = || ActionInvalid("a payment is ADDRESS=TOKENS");
        let (to, amount) = text.split_once('=').ok_or_else(invalid)?;
        let to = to.trim().parse().map_err(|_| invalid())?;
        Ok(Self(to, amount.trim().parse().map_err(|_| invalid())?))
    }
}

impl FromStr for RawCall {
    type Err = ActionInvalid;

    fn from_str(text: &str) -> Result<Self, ActionInvalid> {
        let invalid = || ActionInvalid("a call is ADDRESS:HEX, with whole bytes in hex");
        let (to, data) = text.split_once(':').ok_or_else(invalid)?;
        let to = to.trim().parse().map_err(|_| invalid())?;
        let digits = data.trim().trim_start_matches("0x");
        if digits.len() > 2 * CALL_BYTES_MAX {
            return Err(ActionInvalid("a call has at most 16 KiB"));
        }
        Ok(Self(to, hex::decode(digits).map_err(|_| invalid())?))
    }
}

impl Actions {
    /// The calls that do all this.
    ///
    /// # Errors
    /// [`ActionInvalid`] when they are too many for one proposal.
    pub(super) fn calls(&self, on: &Deployment) -> Result<Vec<ProposedCall>, ActionInvalid> {
        let mut calls = Vec::new();
        if self.advance_phase {
            calls.push(call(on.registry, &NodeRegistry::advancePhaseCall {}));
        }
        let admit = |id: &u32| call(on.registry, &NodeRegistry::admitCall { id: *id });
        calls.extend(self.admit.iter().map(admit));
        calls.extend(self.settings.iter().map(|it| {
            let (parameter, value) = (it.parameter as u8, U256::from(it.value));
            call(on.parameters, &NetworkParameters::setCall { parameter, newValue: value })
        }));
        calls.extend(self.seat.iter().map(|account| {
            let account = address(*account);
            let seat =
                AccessManager::grantRoleCall { roleId: ROLE_COUNCIL, account, executionDelay: 0 };
            call(on.access, &seat)
        }));
        calls.extend(self.unseat.iter().map(|account| {
            let account = address(*account);
            call(on.access, &AccessManager::revokeRoleCall { roleId: ROLE_COUNCIL, account })
        }));
        calls.extend(self.guardian.map(|guardian| {
            let call_of = NodeRegistry::setGuardianCall { guardian_: address(guardian) };
            call(on.registry, &call_of)
        }));
        calls.extend(self.treasury.map(|treasury| {
            let call_of = UsageSettlement::setTreasuryCall { treasury_: address(treasury) };
            call(on.settlement, &call_of)
        }));
        calls.extend(self.settlement.map(|next| {
            let call_of = PayerVault::proposeSettlementCall { settlement_: address(next) };
            call(on.vault, &call_of)
        }));
        calls.extend(self.pay.iter().map(|Payment(to, amount)| {
            let (to, value) = (address(*to), amount.0);
            call(on.token, &TidingsToken::transferCall { to, value })
        }));
        calls.extend(self.calls.iter().map(|RawCall(to, data)| ProposedCall {
            to: *to,
            value: U256::ZERO,
            data: data.clone().into(),
        }));
        match calls.len() <= CALLS_MAX {
            true => Ok(calls),
            false => Err(ActionInvalid("a proposal makes at most 64 calls")),
        }
    }
}

fn call<C: SolCall>(to: EthereumAddress, call: &C) -> ProposedCall {
    ProposedCall { to, value: U256::ZERO, data: Bytes::from(call.abi_encode()) }
}

/// What all calls of a proposal do, in one sentence's worth of words.
pub(super) fn words_of_all(on: &Deployment, calls: &[ProposedCall]) -> String {
    let words: Vec<String> = calls.iter().map(|call| words_of(on, call)).collect();
    match words.split_last() {
        None => "do nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// What a call does. The words come from the bytes alone, so that who votes reads what is carried
/// out and not what the proposer says; what is not exactly a call that is known is shown as it is.
pub(super) fn words_of(on: &Deployment, call: &ProposedCall) -> String {
    let known = match call.to {
        _ if !call.value.is_zero() => None,
        to if to == on.registry => of_registry(&call.data),
        to if to == on.parameters => read(&call.data, of_parameters),
        to if to == on.access => of_access(&call.data),
        to if to == on.settlement => read(&call.data, |it: UsageSettlement::setTreasuryCall| {
            format!("give the protocol's share to {}", ethereum_address(it.treasury_))
        }),
        to if to == on.vault => read(&call.data, |it: PayerVault::proposeSettlementCall| {
            format!("name {} as the next settlement", ethereum_address(it.settlement_))
        }),
        to if to == on.token => read(&call.data, |it: TidingsToken::transferCall| {
            let amount: Tokens = Amount(it.value);
            format!("pay {amount} tokens to {}", ethereum_address(it.to))
        }),
        to if to == on.dollar => read(&call.data, |it: DevnetDollar::transferCall| {
            let amount: Dollars = Amount(it.value);
            format!("pay {amount} dollars to {}", ethereum_address(it.to))
        }),
        to if to == on.governor => of_governor(&call.data),
        to if to == on.timelock => read(&call.data, |it: TidingsTimelock::updateDelayCall| {
            format!("let what is won wait {}", span(it.newDelay.saturating_to()))
        }),
        _ => None,
    };
    known.unwrap_or_else(|| raw(on, call))
}

fn of_registry(data: &[u8]) -> Option<String> {
    read(data, |it: NodeRegistry::admitCall| format!("let node {} into probation", it.id))
        .or_else(|| {
            read(data, |_: NodeRegistry::advancePhaseCall| {
                "go to the next phase of admission, for good".into()
            })
        })
        .or_else(|| {
            read(data, |it: NodeRegistry::setGuardianCall| {
                format!("make {} the registry's guardian", ethereum_address(it.guardian_))
            })
        })
}

fn of_parameters(it: NetworkParameters::setCall) -> String {
    match DEFINITIONS.get(usize::from(it.parameter)) {
        Some(Definition { name, unit, .. }) => format!("set {name} to {} {unit}", it.newValue),
        None => format!("set parameter {}, which is unknown, to {}", it.parameter, it.newValue),
    }
}

fn of_access(data: &[u8]) -> Option<String> {
    let role = |id: u64| {
        let known = usize::try_from(id).ok().and_then(|id| ROLES.get(id));
        known.map_or_else(|| format!("role {id}"), |name| format!("{name} role"))
    };
    read(data, |it: AccessManager::grantRoleCall| {
        let delay = match it.executionDelay {
            0 => String::new(),
            seconds => format!(", to act in after {}", span(seconds.into())),
        };
        format!("give {} {}{delay}", ethereum_address(it.account), role(it.roleId))
    })
    .or_else(|| {
        read(data, |it: AccessManager::revokeRoleCall| {
            format!("take {} from {}", role(it.roleId), ethereum_address(it.account))
        })
    })
}

fn of_governor(data: &[u8]) -> Option<String> {
    read(data, |it: TidingsGovernor::setVotingDelayCall| {
        format!("let votes begin {} after a proposal", span(it.newVotingDelay.saturating_to()))
    })
    .or_else(|| {
        read(data, |it: TidingsGovernor::setVotingPeriodCall| {
            format!("let votes last {}", span(it.newVotingPeriod.into()))
        })
    })
    .or_else(|| {
        read(data, |it: TidingsGovernor::setProposalThresholdCall| {
            let amount: Tokens = Amount(it.newProposalThreshold);
            format!("let who has {amount} tokens propose")
        })
    })
    .or_else(|| {
        read(data, |it: TidingsGovernor::updateQuorumNumeratorCall| {
            format!("let {} percent of the supply be the quorum", it.newQuorumNumerator)
        })
    })
}

/// What `words` make of a call, if the bytes are exactly such a call.
fn read<C: SolCall>(data: &[u8], words: impl FnOnce(C) -> String) -> Option<String> {
    let call = C::abi_decode(data).ok()?;
    (call.abi_encode() == data).then(|| words(call))
}

fn raw(on: &Deployment, call: &ProposedCall) -> String {
    let shown = &call.data[..call.data.len().min(SHOWN_BYTES_MAX)];
    let rest = match call.data.len() - shown.len() {
        0 => String::new(),
        rest => format!("… and {rest} bytes more"),
    };
    let value = match call.value.is_zero() {
        true => String::new(),
        false => format!(" with {} wei", call.value),
    };
    let name = name_of(on, call.to).map_or_else(String::new, |name| format!("{name}, "));
    format!("call {name}{}{value}: 0x{}{rest}", call.to, hex::encode(shown))
}

fn name_of(on: &Deployment, contract: EthereumAddress) -> Option<&'static str> {
    let known = [
        (on.registry, "the registry of nodes"),
        (on.parameters, "the parameters"),
        (on.vault, "the vault"),
        (on.settlement, "the settlement"),
        (on.court, "the court"),
        (on.token, "the token"),
        (on.dollar, "the stable token"),
        (on.governor, "the governor"),
        (on.timelock, "the timelock"),
        (on.access, "the access manager"),
        (on.guardian, "the guardian"),
    ];
    known.into_iter().find(|(known, _)| *known == contract).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tidings_types::GenesisSalt;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        actions: Actions,
    }

    fn deployment() -> Deployment {
        let at = |byte: u8| EthereumAddress([byte; 20]);
        Deployment {
            chain_id: 1,
            salt: GenesisSalt([0; 32]),
            first_block: 0,
            registry: at(1),
            parameters: at(2),
            vault: at(3),
            settlement: at(4),
            court: at(5),
            token: at(6),
            dollar: at(7),
            governor: at(8),
            timelock: at(9),
            access: at(10),
            guardian: at(11),
        }
    }

    fn check(words: &[&str], expected: &str) {
        let line = Line::try_parse_from(["x"].iter().chain(words)).unwrap();
        let calls = line.actions.calls(&deployment()).unwrap();
        assert_eq!(words_of_all(&deployment(), &calls), expected);
    }

    #[test]
    fn what_is_proposed_reads_as_it_was_asked_for() {
        let somebody = format!("0x{}", "5a".repeat(20));
        check(&["--admit", "3"], "let node 3 into probation");
        check(
            &["--set", "BondMin=7", "--advance-phase", "--set", "PeriodMs=1000"],
            "go to the next phase of admission, for good, set BondMin to 7 tokens and set PeriodMs \
             to 1000 milliseconds",
        );
        check(&["--seat", &somebody], &format!("give {somebody} the council's role"));
        check(&["--unseat", &somebody], &format!("take the council's role from {somebody}"));
        let payment = format!("{somebody}=1.5");
        check(&["--pay", &payment], &format!("pay 1.5 tokens to {somebody}"));
        check(&["--treasury", &somebody], &format!("give the protocol's share to {somebody}"));
        check(&["--settlement", &somebody], &format!("name {somebody} as the next settlement"));
        check(&["--guardian", &somebody], &format!("make {somebody} the registry's guardian"));
    }

    #[test]
    fn a_call_by_hand_is_read_if_it_can_be_and_shown_if_not() {
        let registry = deployment().registry.to_string();
        let admit = hex::encode(NodeRegistry::admitCall { id: 9 }.abi_encode());
        check(&["--call", &format!("{registry}:0x{admit}")], "let node 9 into probation");
        // One byte more is another call, whatever the contract would make of it.
        check(
            &["--call", &format!("{registry}:{admit}00")],
            &format!("call the registry of nodes, {registry}: 0x{admit}… and 1 bytes more"),
        );
        check(
            &["--call", &format!("{registry}:")],
            &format!("call the registry of nodes, {registry}: 0x"),
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            vec![],
            vec!["--set", "Colour=1"],
            vec!["--set", "PeriodMs=1"],
            vec!["--call", "0x12:00"],
            vec!["--call", "00"],
            vec!["--pay", "3"],
        ] {
            assert!(Line::try_parse_from(["x"].iter().chain(&words)).is_err(), "{words:?}");
        }
        let many = ["--admit", "1"].repeat(CALLS_MAX + 1);
        let line = Line::try_parse_from(["x"].iter().chain(&many)).unwrap();
        assert!(line.actions.calls(&deployment()).is_err());
    }
}
