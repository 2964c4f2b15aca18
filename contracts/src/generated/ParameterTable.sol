// SPDX-License-Identifier: MIT OR Apache-2.0
// Generated from spec/parameters.toml by `cargo xtask codegen`; do not edit.
pragma solidity 0.8.37;

/// What governance sets.
enum Parameter {
    FeeBase,
    FeeByteDay,
    OrderedPermille,
    StampPermille,
    CongestionTargetBytes,
    CongestionStepPermille,
    CongestionPermilleMax,
    OriginateSharePermille,
    StoreSharePermille,
    OrderSharePermille,
    ShardCountLog2,
    ReplicationFactor,
    PeriodMs,
    MailboxBuckets,
    BondMin,
    UnbondingSeconds,
    ProbationSeconds,
    EpochSeconds,
    EpochChurnMax,
    WeightMax,
    EquivocationSlashPermille,
    InvalidEntrySlashPermille,
    ReporterSharePermille,
    ChallengeSeconds,
    CapWindowPeriods,
    CapNoticePeriods,
    WithdrawalSeconds,
    ReachabilityPermilleMin,
    AcknowledgementMsMax,
    CadencePermilleMin,
    ServedPermilleMin,
    JailSeconds
}

/// A parameter's name, unit, bounds (both included) and first value.
struct Definition {
    string name;
    string unit;
    uint256 min;
    uint256 max;
    uint256 initial;
}

/// The definitions of all parameters.
library ParameterTable {
    uint256 internal constant COUNT = 32;

    /// What `parameter` is.
    function definition(Parameter parameter) internal pure returns (Definition memory) {
        if (parameter == Parameter.FeeBase) {
            return Definition({
                name: "FeeBase",
                unit: unicode"picodollars per envelope",
                min: 0,
                max: 1_000_000_000_000,
                initial: 2_000_000
            });
        }
        if (parameter == Parameter.FeeByteDay) {
            return Definition({
                name: "FeeByteDay",
                unit: unicode"picodollars per byte and day",
                min: 0,
                max: 1_000_000,
                initial: 100
            });
        }
        if (parameter == Parameter.OrderedPermille) {
            return Definition({
                name: "OrderedPermille",
                unit: unicode"thousandths",
                min: 1000,
                max: 1_000_000,
                initial: 4000
            });
        }
        if (parameter == Parameter.StampPermille) {
            return Definition({
                name: "StampPermille",
                unit: unicode"thousandths",
                min: 1000,
                max: 1_000_000,
                initial: 10_000
            });
        }
        if (parameter == Parameter.CongestionTargetBytes) {
            return Definition({
                name: "CongestionTargetBytes",
                unit: unicode"bytes per shard and second",
                min: 1024,
                max: 1_073_741_824,
                initial: 4_194_304
            });
        }
        if (parameter == Parameter.CongestionStepPermille) {
            return Definition({
                name: "CongestionStepPermille",
                unit: unicode"thousandths",
                min: 1,
                max: 500,
                initial: 125
            });
        }
        if (parameter == Parameter.CongestionPermilleMax) {
            return Definition({
                name: "CongestionPermilleMax",
                unit: unicode"thousandths",
                min: 1000,
                max: 1_000_000,
                initial: 100_000
            });
        }
        if (parameter == Parameter.OriginateSharePermille) {
            return Definition({
                name: "OriginateSharePermille",
                unit: unicode"thousandths of the uncongested fee",
                min: 0,
                max: 300,
                initial: 250
            });
        }
        if (parameter == Parameter.StoreSharePermille) {
            return Definition({
                name: "StoreSharePermille",
                unit: unicode"thousandths of the uncongested fee",
                min: 0,
                max: 500,
                initial: 500
            });
        }
        if (parameter == Parameter.OrderSharePermille) {
            return Definition({
                name: "OrderSharePermille",
                unit: unicode"thousandths of the uncongested fee",
                min: 0,
                max: 200,
                initial: 200
            });
        }
        if (parameter == Parameter.ShardCountLog2) {
            return Definition({
                name: "ShardCountLog2", unit: unicode"power of two", min: 0, max: 12, initial: 0
            });
        }
        if (parameter == Parameter.ReplicationFactor) {
            return Definition({
                name: "ReplicationFactor",
                unit: unicode"nodes per shard",
                min: 1,
                max: 31,
                initial: 4
            });
        }
        if (parameter == Parameter.PeriodMs) {
            return Definition({
                name: "PeriodMs",
                unit: unicode"milliseconds",
                min: 1000,
                max: 86_400_000,
                initial: 3_600_000
            });
        }
        if (parameter == Parameter.MailboxBuckets) {
            return Definition({
                name: "MailboxBuckets", unit: unicode"buckets", min: 1, max: 16_777_216, initial: 1
            });
        }
        if (parameter == Parameter.BondMin) {
            return Definition({
                name: "BondMin", unit: unicode"tokens", min: 0, max: 100_000_000, initial: 100_000
            });
        }
        if (parameter == Parameter.UnbondingSeconds) {
            return Definition({
                name: "UnbondingSeconds",
                unit: unicode"seconds",
                min: 0,
                max: 7_776_000,
                initial: 1_814_400
            });
        }
        if (parameter == Parameter.ProbationSeconds) {
            return Definition({
                name: "ProbationSeconds",
                unit: unicode"seconds",
                min: 0,
                max: 7_776_000,
                initial: 604_800
            });
        }
        if (parameter == Parameter.EpochSeconds) {
            return Definition({
                name: "EpochSeconds", unit: unicode"seconds", min: 0, max: 604_800, initial: 3600
            });
        }
        if (parameter == Parameter.EpochChurnMax) {
            return Definition({
                name: "EpochChurnMax", unit: unicode"nodes per epoch", min: 1, max: 31, initial: 1
            });
        }
        if (parameter == Parameter.WeightMax) {
            return Definition({
                name: "WeightMax", unit: unicode"weight", min: 1, max: 1_000_000, initial: 16
            });
        }
        if (parameter == Parameter.EquivocationSlashPermille) {
            return Definition({
                name: "EquivocationSlashPermille",
                unit: unicode"thousandths of the bond",
                min: 100,
                max: 1000,
                initial: 1000
            });
        }
        if (parameter == Parameter.InvalidEntrySlashPermille) {
            return Definition({
                name: "InvalidEntrySlashPermille",
                unit: unicode"thousandths of the bond",
                min: 10,
                max: 1000,
                initial: 200
            });
        }
        if (parameter == Parameter.ReporterSharePermille) {
            return Definition({
                name: "ReporterSharePermille",
                unit: unicode"thousandths of what is slashed",
                min: 0,
                max: 500,
                initial: 100
            });
        }
        if (parameter == Parameter.ChallengeSeconds) {
            return Definition({
                name: "ChallengeSeconds",
                unit: unicode"seconds",
                min: 0,
                max: 1_209_600,
                initial: 86_400
            });
        }
        if (parameter == Parameter.CapWindowPeriods) {
            return Definition({
                name: "CapWindowPeriods", unit: unicode"periods", min: 1, max: 100_000, initial: 720
            });
        }
        if (parameter == Parameter.CapNoticePeriods) {
            return Definition({
                name: "CapNoticePeriods", unit: unicode"periods", min: 1, max: 1000, initial: 2
            });
        }
        if (parameter == Parameter.WithdrawalSeconds) {
            return Definition({
                name: "WithdrawalSeconds",
                unit: unicode"seconds",
                min: 0,
                max: 2_592_000,
                initial: 604_800
            });
        }
        if (parameter == Parameter.ReachabilityPermilleMin) {
            return Definition({
                name: "ReachabilityPermilleMin",
                unit: unicode"thousandths",
                min: 0,
                max: 1000,
                initial: 900
            });
        }
        if (parameter == Parameter.AcknowledgementMsMax) {
            return Definition({
                name: "AcknowledgementMsMax",
                unit: unicode"milliseconds",
                min: 10,
                max: 600_000,
                initial: 2000
            });
        }
        if (parameter == Parameter.CadencePermilleMin) {
            return Definition({
                name: "CadencePermilleMin",
                unit: unicode"thousandths",
                min: 0,
                max: 1000,
                initial: 900
            });
        }
        if (parameter == Parameter.ServedPermilleMin) {
            return Definition({
                name: "ServedPermilleMin",
                unit: unicode"thousandths",
                min: 0,
                max: 1000,
                initial: 900
            });
        }
        return Definition({
            name: "JailSeconds", unit: unicode"seconds", min: 0, max: 7_776_000, initial: 86_400
        });
    }
}
