//! What one key alone tries to do, and cannot.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use anyhow::{Result, bail};
use tidings_chain::contracts::{
    AccessManager, NetworkParameters, NodeRegistry, PayerVault, TidingsTimelock, TidingsToken,
    UsageSettlement,
};
use tidings_chain::{Deployment, Parameter, address};
use tidings_types::EthereumAddress;

use super::chamber::{Chamber, Person, units};

/// The administrator's role of the access manager.
const ROLE_ADMIN: u64 = 0;

/// What somebody tries.
struct Attempt {
    what: &'static str,
    /// The name of the error that the contract must answer with.
    refusal: &'static str,
    to: EthereumAddress,
    data: Vec<u8>,
}

/// Has each of `people` try, alone, all that only a vote may do. `candidate` is a node that waits
/// to be let in; none in the last phase, when anybody may.
///
/// # Errors
/// When something succeeds, fails for another reason than the right one, or the chain does not
/// answer.
pub(super) async fn all_refused(
    chamber: &mut Chamber,
    people: &[&Person],
    candidate: Option<u32>,
) -> Result<()> {
    let on = chamber.deployment()?;
    for person in people {
        println!("  {} tries alone, with no vote:", person.name);
        for attempt in attempts(&on, person.address, candidate) {
            let Attempt { what, refusal, to, data } = attempt;
            match chamber.attempt(person, to, data).await? {
                Ok(()) => bail!("{} could {what} alone", person.name),
                Err(reason) if reason.starts_with(refusal) => {
                    println!("    to {what}: refused, {refusal}");
                }
                Err(reason) => bail!("to {what} failed for another reason: {reason}"),
            }
        }
        chamber.check(true, &format!("{}'s key does none of it", person.name))?;
    }
    Ok(())
}

fn attempts(on: &Deployment, me: EthereumAddress, candidate: Option<u32>) -> Vec<Attempt> {
    let somebody = address(me);
    let one = units(1);
    let payment = TidingsToken::transferCall { to: somebody, value: one };
    let at_once = TidingsTimelock::scheduleCall {
        target: address(on.token),
        value: U256::ZERO,
        data: payment.abi_encode().into(),
        predecessor: [0; 32].into(),
        salt: [0; 32].into(),
        delay: U256::ZERO,
    };
    let pay = TidingsTimelock::executeCall {
        target: address(on.token),
        value: U256::ZERO,
        payload: payment.abi_encode().into(),
        predecessor: [0; 32].into(),
        salt: [0; 32].into(),
    };
    let bond_min =
        NetworkParameters::setCall { parameter: Parameter::BondMin as u8, newValue: U256::ZERO };
    let slash = NodeRegistry::slashCall {
        id: 0,
        permille: U256::from(1000),
        offence: [1; 32].into(),
        reporter: somebody,
    };
    let collect =
        PayerVault::collectCall { payer: somebody, shard: 0, wanted: U256::from(1), through: 1 };
    let pay_out = PayerVault::payCall { shard: 0, to: somebody, amount: U256::from(1) };
    let admin =
        AccessManager::grantRoleCall { roleId: ROLE_ADMIN, account: somebody, executionDelay: 0 };
    let treasury = UsageSettlement::setTreasuryCall { treasury_: somebody };
    let mut all = vec![
        attempt(
            "pay the treasury's tokens out",
            "TimelockUnexpectedOperationState",
            on.timelock,
            &pay,
        ),
        attempt(
            "have that wait in the timelock",
            "AccessControlUnauthorizedAccount",
            on.timelock,
            &at_once,
        ),
        attempt("take a payer's money", "NotSettlement", on.vault, &collect),
        attempt("pay it out of the vault", "PoolTooSmall", on.vault, &pay_out),
        attempt("take an operator's bond", "AccessManagedUnauthorized", on.registry, &slash),
        attempt(
            "divert the protocol's share",
            "AccessManagedUnauthorized",
            on.settlement,
            &treasury,
        ),
        attempt("set a parameter", "AccessManagedUnauthorized", on.parameters, &bond_min),
        attempt(
            "go to the next phase",
            "AccessManagedUnauthorized",
            on.registry,
            &NodeRegistry::advancePhaseCall {},
        ),
        attempt("become the administrator", "AccessManagerUnauthorizedAccount", on.access, &admin),
    ];
    all.extend(candidate.map(|id| {
        attempt("let a node in", "NotAllowed", on.registry, &NodeRegistry::admitCall { id })
    }));
    all
}

fn attempt<C: SolCall>(
    what: &'static str,
    refusal: &'static str,
    to: EthereumAddress,
    call: &C,
) -> Attempt {
    Attempt { what, refusal, to, data: call.abi_encode() }
}
