//! Bindings of the contracts, made from the committed artifacts.
#![expect(missing_docs, reason = "generated from the contracts' interfaces, which are documented")]
#![expect(clippy::too_many_arguments, reason = "generated constructors and calls")]

macro_rules! binding {
    ($module:ident, $name:ident, $path:literal) => {
        pub mod $module {
            alloy::sol!(
                #[sol(rpc)]
                #[derive(Debug, PartialEq, Eq)]
                $name,
                $path
            );
        }
        pub use $module::$name;
    };
}

binding!(access_manager, AccessManager, "../../contracts/artifacts/AccessManager.json");
binding!(devnet_dollar, DevnetDollar, "../../contracts/artifacts/DevnetDollar.json");
binding!(evidence_court, EvidenceCourt, "../../contracts/artifacts/EvidenceCourt.json");
binding!(guardian, Guardian, "../../contracts/artifacts/Guardian.json");
binding!(network_parameters, NetworkParameters, "../../contracts/artifacts/NetworkParameters.json");
binding!(node_registry, NodeRegistry, "../../contracts/artifacts/NodeRegistry.json");
binding!(payer_vault, PayerVault, "../../contracts/artifacts/PayerVault.json");
binding!(timelock, TidingsTimelock, "../../contracts/artifacts/TidingsTimelock.json");
binding!(governor, TidingsGovernor, "../../contracts/artifacts/TidingsGovernor.json");
binding!(token, TidingsToken, "../../contracts/artifacts/TidingsToken.json");
binding!(usage_settlement, UsageSettlement, "../../contracts/artifacts/UsageSettlement.json");

/// The name and arguments of an error that one of the contracts gave, for people.
pub(crate) fn named_error(data: &[u8]) -> Option<String> {
    use alloy::sol_types::SolInterface as _;
    macro_rules! first_of {
        ($($errors:path),* $(,)?) => {
            $(if let Ok(error) = <$errors>::abi_decode(data) {
                return Some(format!("{error:?}"));
            })*
        };
    }
    first_of!(
        node_registry::NodeRegistry::NodeRegistryErrors,
        payer_vault::PayerVault::PayerVaultErrors,
        usage_settlement::UsageSettlement::UsageSettlementErrors,
        evidence_court::EvidenceCourt::EvidenceCourtErrors,
        network_parameters::NetworkParameters::NetworkParametersErrors,
        governor::TidingsGovernor::TidingsGovernorErrors,
        timelock::TidingsTimelock::TidingsTimelockErrors,
        token::TidingsToken::TidingsTokenErrors,
        devnet_dollar::DevnetDollar::DevnetDollarErrors,
        access_manager::AccessManager::AccessManagerErrors,
        guardian::Guardian::GuardianErrors,
    );
    None
}
