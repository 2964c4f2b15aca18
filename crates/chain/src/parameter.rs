//! The governed numbers, generated from spec/parameters.toml by `cargo xtask codegen`; do not edit.

/// What governance sets, in the order of the contract's enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Parameter {
    /// In picodollars per envelope. Covers signatures and bookkeeping; at most a dollar.
    FeeBase,
    /// In picodollars per byte and day. Ten cents a gigabyte and day, on all replicas together.
    FeeByteDay,
    /// In thousandths. Every committee member checks an ordered operation at once.
    OrderedPermille,
    /// In thousandths. A stranger's envelope is read by everyone who shares the mailbox bucket.
    StampPermille,
    /// In bytes per shard and second. Half of what one replica on two cores takes in; above it the next period is dearer.
    CongestionTargetBytes,
    /// In thousandths. The most that the multiplier moves from one period to the next, as on Ethereum.
    CongestionStepPermille,
    /// In thousandths. A shard that is flooded costs at most a hundred times as much.
    CongestionPermilleMax,
    /// In thousandths of the uncongested fee. Who takes an envelope in answers the publisher and serves proofs.
    OriginateSharePermille,
    /// In thousandths of the uncongested fee. Disks and traffic of the replicas are the largest cost; shared by the bytes and days that each holds.
    StoreSharePermille,
    /// In thousandths of the uncongested fee. Shared equally by the members that made a statement in the period; what no share takes is the protocol's, and the three largest shares add up to 1000.
    OrderSharePermille,
    /// In power of two. One shard until nodes are many; 4096 at most.
    ShardCountLog2,
    /// In nodes per shard. The fewest that outlive one faulty member; at most COMMITTEE_MEMBERS_MAX.
    ReplicationFactor,
    /// In milliseconds. An hour is short beside retention and long beside clocks that disagree.
    PeriodMs,
    /// In buckets. At least 256 installations share a bucket, so few buckets until there are many.
    MailboxBuckets,
    /// In tokens. A ten-thousandth of the supply: what an operator stands to lose.
    BondMin,
    /// In seconds. Three weeks, so that evidence found late still reaches the bond of who left.
    UnbondingSeconds,
    /// In seconds. A week of measurements before a node is trusted with votes.
    ProbationSeconds,
    /// In seconds. The least time between two snapshots of the registry.
    EpochSeconds,
    /// In nodes per epoch. So many nodes come or go at once; a committee changes in at most f seats.
    EpochChurnMax,
    /// In weight. The largest capacity that an operator may claim beside the smallest.
    WeightMax,
    /// In thousandths of the bond. Who signs two histories loses everything.
    EquivocationSlashPermille,
    /// In thousandths of the bond. Who bills for what it must refuse loses a fifth.
    InvalidEntrySlashPermille,
    /// In thousandths of what is slashed. Enough to pay the reporter's gas many times, too little to get one's own bond back by it.
    ReporterSharePermille,
    /// In seconds. A day in which anybody can show that a payer's sum has fallen.
    ChallengeSeconds,
    /// In periods. A payer's cap is reserved for so many periods, a month of hours: how late it may be charged. An eighth of them has to cover what is on its way to be charged.
    CapWindowPeriods,
    /// In periods. A changed cap holds from so many periods ahead, so that nodes see it before it binds them.
    CapNoticePeriods,
    /// In seconds. Reports of what was used before the request come in meanwhile.
    WithdrawalSeconds,
    /// In thousandths. A node that peers fail to reach more than one time in ten serves nobody.
    ReachabilityPermilleMin,
    /// In milliseconds. Slower acknowledgements hold up every receipt that waits for them.
    AcknowledgementMsMax,
    /// In thousandths. Checkpoints that do not come leave entries unproven.
    CadencePermilleMin,
    /// In thousandths. Ranges that a replica does not serve are not stored.
    ServedPermilleMin,
    /// In seconds. A day before a node that was jailed for bad service may come back through probation.
    JailSeconds,
}

/// A parameter's name, unit, bounds (both included) and first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Which parameter.
    pub parameter: Parameter,
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
    /// The value on a network that says nothing of it.
    pub initial: u64,
}

/// All parameters, in the order of the contract's enumeration.
pub const DEFINITIONS: [Definition; 32] = [
    Definition {
        parameter: Parameter::FeeBase,
        name: "FeeBase",
        unit: "picodollars per envelope",
        min: 0,
        max: 1_000_000_000_000,
        initial: 2_000_000,
    },
    Definition {
        parameter: Parameter::FeeByteDay,
        name: "FeeByteDay",
        unit: "picodollars per byte and day",
        min: 0,
        max: 1_000_000,
        initial: 100,
    },
    Definition {
        parameter: Parameter::OrderedPermille,
        name: "OrderedPermille",
        unit: "thousandths",
        min: 1000,
        max: 1_000_000,
        initial: 4000,
    },
    Definition {
        parameter: Parameter::StampPermille,
        name: "StampPermille",
        unit: "thousandths",
        min: 1000,
        max: 1_000_000,
        initial: 10_000,
    },
    Definition {
        parameter: Parameter::CongestionTargetBytes,
        name: "CongestionTargetBytes",
        unit: "bytes per shard and second",
        min: 1024,
        max: 1_073_741_824,
        initial: 4_194_304,
    },
    Definition {
        parameter: Parameter::CongestionStepPermille,
        name: "CongestionStepPermille",
        unit: "thousandths",
        min: 1,
        max: 500,
        initial: 125,
    },
    Definition {
        parameter: Parameter::CongestionPermilleMax,
        name: "CongestionPermilleMax",
        unit: "thousandths",
        min: 1000,
        max: 1_000_000,
        initial: 100_000,
    },
    Definition {
        parameter: Parameter::OriginateSharePermille,
        name: "OriginateSharePermille",
        unit: "thousandths of the uncongested fee",
        min: 0,
        max: 300,
        initial: 250,
    },
    Definition {
        parameter: Parameter::StoreSharePermille,
        name: "StoreSharePermille",
        unit: "thousandths of the uncongested fee",
        min: 0,
        max: 500,
        initial: 500,
    },
    Definition {
        parameter: Parameter::OrderSharePermille,
        name: "OrderSharePermille",
        unit: "thousandths of the uncongested fee",
        min: 0,
        max: 200,
        initial: 200,
    },
    Definition {
        parameter: Parameter::ShardCountLog2,
        name: "ShardCountLog2",
        unit: "power of two",
        min: 0,
        max: 12,
        initial: 0,
    },
    Definition {
        parameter: Parameter::ReplicationFactor,
        name: "ReplicationFactor",
        unit: "nodes per shard",
        min: 1,
        max: 31,
        initial: 4,
    },
    Definition {
        parameter: Parameter::PeriodMs,
        name: "PeriodMs",
        unit: "milliseconds",
        min: 1000,
        max: 86_400_000,
        initial: 3_600_000,
    },
    Definition {
        parameter: Parameter::MailboxBuckets,
        name: "MailboxBuckets",
        unit: "buckets",
        min: 1,
        max: 16_777_216,
        initial: 1,
    },
    Definition {
        parameter: Parameter::BondMin,
        name: "BondMin",
        unit: "tokens",
        min: 0,
        max: 100_000_000,
        initial: 100_000,
    },
    Definition {
        parameter: Parameter::UnbondingSeconds,
        name: "UnbondingSeconds",
        unit: "seconds",
        min: 0,
        max: 7_776_000,
        initial: 1_814_400,
    },
    Definition {
        parameter: Parameter::ProbationSeconds,
        name: "ProbationSeconds",
        unit: "seconds",
        min: 0,
        max: 7_776_000,
        initial: 604_800,
    },
    Definition {
        parameter: Parameter::EpochSeconds,
        name: "EpochSeconds",
        unit: "seconds",
        min: 0,
        max: 604_800,
        initial: 3600,
    },
    Definition {
        parameter: Parameter::EpochChurnMax,
        name: "EpochChurnMax",
        unit: "nodes per epoch",
        min: 1,
        max: 31,
        initial: 1,
    },
    Definition {
        parameter: Parameter::WeightMax,
        name: "WeightMax",
        unit: "weight",
        min: 1,
        max: 1_000_000,
        initial: 16,
    },
    Definition {
        parameter: Parameter::EquivocationSlashPermille,
        name: "EquivocationSlashPermille",
        unit: "thousandths of the bond",
        min: 100,
        max: 1000,
        initial: 1000,
    },
    Definition {
        parameter: Parameter::InvalidEntrySlashPermille,
        name: "InvalidEntrySlashPermille",
        unit: "thousandths of the bond",
        min: 10,
        max: 1000,
        initial: 200,
    },
    Definition {
        parameter: Parameter::ReporterSharePermille,
        name: "ReporterSharePermille",
        unit: "thousandths of what is slashed",
        min: 0,
        max: 500,
        initial: 100,
    },
    Definition {
        parameter: Parameter::ChallengeSeconds,
        name: "ChallengeSeconds",
        unit: "seconds",
        min: 0,
        max: 1_209_600,
        initial: 86_400,
    },
    Definition {
        parameter: Parameter::CapWindowPeriods,
        name: "CapWindowPeriods",
        unit: "periods",
        min: 1,
        max: 100_000,
        initial: 720,
    },
    Definition {
        parameter: Parameter::CapNoticePeriods,
        name: "CapNoticePeriods",
        unit: "periods",
        min: 1,
        max: 1000,
        initial: 2,
    },
    Definition {
        parameter: Parameter::WithdrawalSeconds,
        name: "WithdrawalSeconds",
        unit: "seconds",
        min: 0,
        max: 2_592_000,
        initial: 604_800,
    },
    Definition {
        parameter: Parameter::ReachabilityPermilleMin,
        name: "ReachabilityPermilleMin",
        unit: "thousandths",
        min: 0,
        max: 1000,
        initial: 900,
    },
    Definition {
        parameter: Parameter::AcknowledgementMsMax,
        name: "AcknowledgementMsMax",
        unit: "milliseconds",
        min: 10,
        max: 600_000,
        initial: 2000,
    },
    Definition {
        parameter: Parameter::CadencePermilleMin,
        name: "CadencePermilleMin",
        unit: "thousandths",
        min: 0,
        max: 1000,
        initial: 900,
    },
    Definition {
        parameter: Parameter::ServedPermilleMin,
        name: "ServedPermilleMin",
        unit: "thousandths",
        min: 0,
        max: 1000,
        initial: 900,
    },
    Definition {
        parameter: Parameter::JailSeconds,
        name: "JailSeconds",
        unit: "seconds",
        min: 0,
        max: 7_776_000,
        initial: 86_400,
    },
];
