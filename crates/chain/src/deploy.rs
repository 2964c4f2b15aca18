//! Puts a whole network on a chain, wired so that in the end the timelock alone governs.

use alloy::primitives::{Address, B256, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::sol_types::{SolCall, SolConstructor};
use tidings_types::{EthereumAddress, GenesisSalt};

use crate::contracts::{
    AccessManager, DevnetDollar, EvidenceCourt, Guardian, NetworkParameters, NodeRegistry,
    PayerVault, TidingsGovernor, TidingsTimelock, TidingsToken, UsageSettlement, governor,
};
use crate::{
    Call, ChainError, Deployment, Parameter, SubmitError, Submitter, address, ethereum_address,
};

// Roles as `contracts/src/Roles.sol` numbers them.
const ROLE_ADMIN: u64 = 0;
const ROLE_COUNCIL: u64 = 1;
const ROLE_COURT: u64 = 2;
const ROLE_SETTLEMENT: u64 = 3;

/// How the governor votes at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voting {
    /// How long after a proposal the vote begins, in seconds.
    pub delay_seconds: u32,
    /// How long it lasts, in seconds.
    pub period_seconds: u32,
    /// Whose holders may propose, in token units of 10⁻¹⁸.
    pub proposal_threshold: u128,
    /// How much of the supply must vote, in hundredths.
    pub quorum_percent: u8,
}

/// What somebody decides who makes a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Tells apart networks of one deployer.
    pub salt: GenesisSalt,
    /// Who holds all tokens at first.
    pub holder: EthereumAddress,
    /// Who admits operators in the first phase.
    pub council: EthereumAddress,
    /// Who may stop contracts for a while.
    pub keeper: EthereumAddress,
    /// When the keeper's term ends, in seconds since 1970.
    pub keeper_until: u64,
    /// What payers deposit; none makes a token that anybody can mint, for development.
    pub dollar: Option<EthereumAddress>,
    /// How long what was voted waits, in seconds; longer than it takes to leave (SET-022).
    pub timelock_seconds: u64,
    /// How the governor votes.
    pub voting: Voting,
    /// Parameters that do not begin with the table's value.
    pub parameters: Vec<(Parameter, u64)>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A contract could not be made or called.
    #[error("{step}: {source}")]
    Step {
        /// What was being done.
        step: String,
        /// Why it failed.
        source: SubmitError,
    },
    /// The chain could not be asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Deploys and wires all contracts. Each step is keyed, so that a deployment that was interrupted
/// goes on with the same journal.
///
/// # Errors
/// [`DeployError`] names the step that failed.
pub async fn deploy(
    submitter: &mut Submitter,
    chain_id: u64,
    plan: &Plan,
) -> Result<Deployment, DeployError> {
    let mut work = Work { submitter };
    let governance = work.governance(plan).await?;
    let money = work.contracts(plan, &governance).await?;
    work.wire(plan, &governance, &money).await?;
    work.hand_over(&governance).await?;
    Ok(Deployment {
        chain_id,
        salt: plan.salt,
        first_block: money.first_block,
        registry: ethereum_address(money.registry),
        parameters: ethereum_address(governance.parameters),
        vault: ethereum_address(money.vault),
        settlement: ethereum_address(money.settlement),
        court: ethereum_address(money.court),
        token: ethereum_address(governance.token),
        dollar: ethereum_address(money.dollar),
        governor: ethereum_address(governance.governor),
        timelock: ethereum_address(governance.timelock),
        access: ethereum_address(governance.access),
        guardian: ethereum_address(governance.guardian),
    })
}

struct Governance {
    token: Address,
    access: Address,
    parameters: Address,
    timelock: Address,
    governor: Address,
    guardian: Address,
}

struct Money {
    first_block: u64,
    dollar: Address,
    registry: Address,
    vault: Address,
    settlement: Address,
    court: Address,
}

struct Work<'a> {
    submitter: &'a mut Submitter,
}

impl Work<'_> {
    async fn governance(&mut self, plan: &Plan) -> Result<Governance, DeployError> {
        let deployer = address(self.submitter.address());
        let arguments = TidingsToken::constructorCall { recipient: address(plan.holder) };
        let (token, _) = self.make("token", &TidingsToken::BYTECODE, &arguments).await?;
        let arguments = AccessManager::constructorCall { initialAdmin: deployer };
        let (access, _) = self.make("access", &AccessManager::BYTECODE, &arguments).await?;
        let arguments = NetworkParameters::constructorCall {
            authority: access,
            overridden: plan.parameters.iter().map(|(which, _)| *which as u8).collect(),
            values: plan.parameters.iter().map(|(_, value)| U256::from(*value)).collect(),
        };
        let (parameters, _) =
            self.make("parameters", &NetworkParameters::BYTECODE, &arguments).await?;
        let arguments = TidingsTimelock::constructorCall {
            parameters_: parameters,
            minDelay: U256::from(plan.timelock_seconds),
            proposers: Vec::new(),
            // Anybody may carry out what was voted and has waited.
            executors: vec![Address::ZERO],
            admin: deployer,
        };
        let (timelock, _) = self.make("timelock", &TidingsTimelock::BYTECODE, &arguments).await?;
        let arguments = TidingsGovernor::constructorCall {
            token,
            timelock,
            settings: governor::TidingsGovernor::Settings {
                votingDelaySeconds: alloy::primitives::aliases::U48::from(
                    plan.voting.delay_seconds,
                ),
                votingPeriodSeconds: plan.voting.period_seconds,
                proposalThreshold: U256::from(plan.voting.proposal_threshold),
                quorumPercent: U256::from(plan.voting.quorum_percent),
            },
        };
        let (governor, _) = self.make("governor", &TidingsGovernor::BYTECODE, &arguments).await?;
        let arguments = Guardian::constructorCall {
            keeper_: address(plan.keeper),
            termEnd_: plan.keeper_until,
        };
        let (guardian, _) = self.make("guardian", &Guardian::BYTECODE, &arguments).await?;
        Ok(Governance { token, access, parameters, timelock, governor, guardian })
    }

    async fn contracts(
        &mut self,
        plan: &Plan,
        governance: &Governance,
    ) -> Result<Money, DeployError> {
        let Governance { token, access, parameters, timelock, guardian, .. } = *governance;
        let dollar = match plan.dollar {
            Some(dollar) => address(dollar),
            None => {
                let arguments = DevnetDollar::constructorCall {};
                self.make("dollar", &DevnetDollar::BYTECODE, &arguments).await?.0
            }
        };
        let arguments = NodeRegistry::constructorCall {
            authority: access,
            token_: token,
            parameters_: parameters,
            treasury_: timelock,
            guardian_: guardian,
            salt: B256::from(plan.salt.0),
        };
        let (registry, first_block) =
            self.make("registry", &NodeRegistry::BYTECODE, &arguments).await?;
        let arguments = PayerVault::constructorCall {
            authority: access,
            token_: dollar,
            parameters_: parameters,
            guardian_: guardian,
        };
        let (vault, _) = self.make("vault", &PayerVault::BYTECODE, &arguments).await?;
        let arguments = UsageSettlement::constructorCall {
            authority: access,
            registry_: registry,
            parameters_: parameters,
            vault_: vault,
            guardian_: guardian,
            treasury_: timelock,
        };
        let (settlement, _) =
            self.make("settlement", &UsageSettlement::BYTECODE, &arguments).await?;
        let arguments =
            EvidenceCourt::constructorCall { registry_: registry, parameters_: parameters };
        let (court, _) = self.make("court", &EvidenceCourt::BYTECODE, &arguments).await?;
        Ok(Money { first_block, dollar, registry, vault, settlement, court })
    }

    /// Roles, and who may do what with them.
    async fn wire(
        &mut self,
        plan: &Plan,
        governance: &Governance,
        money: &Money,
    ) -> Result<(), DeployError> {
        let access = governance.access;
        for (step, selector, role) in [
            ("court may slash", NodeRegistry::slashCall::SELECTOR, ROLE_COURT),
            ("settlement may jail", NodeRegistry::jailCall::SELECTOR, ROLE_SETTLEMENT),
        ] {
            let call = AccessManager::setTargetFunctionRoleCall {
                target: money.registry,
                selectors: vec![selector.into()],
                roleId: role,
            };
            self.call(step, access, &call).await?;
        }
        for (step, role, account) in [
            ("the council", ROLE_COUNCIL, address(plan.council)),
            ("the court", ROLE_COURT, money.court),
            ("the settlement", ROLE_SETTLEMENT, money.settlement),
        ] {
            let call = AccessManager::grantRoleCall { roleId: role, account, executionDelay: 0 };
            self.call(step, access, &call).await?;
        }
        let call = PayerVault::setSettlementCall { settlement_: money.settlement };
        self.call("the vault's settlement", money.vault, &call).await
    }

    /// The deployer gives up all it can do.
    async fn hand_over(&mut self, governance: &Governance) -> Result<(), DeployError> {
        let Governance { access, timelock, governor, .. } = *governance;
        let deployer = address(self.submitter.address());
        for (step, role) in [("proposer", "PROPOSER_ROLE"), ("canceller", "CANCELLER_ROLE")] {
            let role = alloy::primitives::keccak256(role);
            let call = TidingsTimelock::grantRoleCall { role, account: governor };
            self.call(&format!("the governor is {step}"), timelock, &call).await?;
        }
        let call =
            TidingsTimelock::renounceRoleCall { role: B256::ZERO, callerConfirmation: deployer };
        self.call("the timelock governs itself", timelock, &call).await?;
        let call = AccessManager::grantRoleCall {
            roleId: ROLE_ADMIN,
            account: timelock,
            executionDelay: 0,
        };
        self.call("the timelock governs", access, &call).await?;
        let call =
            AccessManager::renounceRoleCall { roleId: ROLE_ADMIN, callerConfirmation: deployer };
        self.call("the deployer does not", access, &call).await
    }

    /// Makes a contract; its address, and the block that it is in.
    async fn make<C: SolConstructor>(
        &mut self,
        name: &str,
        code: &[u8],
        arguments: &C,
    ) -> Result<(Address, u64), DeployError> {
        let data = [code, &arguments.abi_encode()].concat();
        let call = Call { key: format!("deploy {name}"), to: None, data: data.into() };
        let confirmed = self.submitter.submit(&call).await;
        let confirmed =
            confirmed.map_err(|source| DeployError::Step { step: call.key.clone(), source })?;
        let hash = confirmed.hash;
        let made = self
            .submitter
            .endpoints()
            .agreed(move |provider: DynProvider| async move {
                let receipt = provider.get_transaction_receipt(hash).await;
                let receipt = receipt.map_err(|error| error.to_string())?;
                let made = receipt.and_then(|receipt| receipt.contract_address);
                made.ok_or_else(|| format!("transaction {hash} made no contract"))
            })
            .await?;
        Ok((made, confirmed.block))
    }

    async fn call<C: SolCall>(
        &mut self,
        step: &str,
        to: Address,
        call: &C,
    ) -> Result<(), DeployError> {
        let call = Call::new(format!("deploy: {step}"), ethereum_address(to), call.abi_encode());
        let done = self.submitter.submit(&call).await;
        done.map(|_| ()).map_err(|source| DeployError::Step { step: step.into(), source })
    }
}
