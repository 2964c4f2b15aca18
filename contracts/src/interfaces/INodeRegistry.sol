// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Epoch, NodeId, ShardId} from "../Types.sol";

/// Who runs the network: operators, their bonds, keys and addresses, and the committees.
interface INodeRegistry {
    /// Where a node stands. `Gone` is for ever.
    enum Status {
        None,
        Candidate,
        Probation,
        Active,
        Jailed,
        Exiting,
        Gone
    }

    /// How nodes are admitted; it only moves forward.
    enum Phase {
        Council,
        TokenVote,
        Open
    }

    /// What an operator says of its node.
    struct Description {
        /// A short name for people, 1 to 32 bytes.
        string name;
        /// Address of the secp256k1 key that signs checkpoints, acknowledgements and votes; of a
        /// registered node, the one that is valid in the current epoch.
        address signing;
        /// The Ed25519 key of the node's TLS certificate.
        bytes32 transport;
        /// Where peers connect, `host:port`, 1 to 128 bytes.
        string quic;
        /// Where clients connect, a base URL, 1 to 128 bytes.
        string http;
        /// Capacity: the share in the choice of committees, 1 or more; a member's counts from the
        /// epoch that took it over (see `Member`).
        uint32 weight;
    }

    /// A node as it stands.
    struct Node {
        /// Whose node it is: who may change it, and whose bond it is.
        address operator;
        /// Who is paid.
        address payout;
        Status status;
        /// When it came into this status, in seconds since 1970.
        uint64 since;
        /// In token units of 10⁻¹⁸.
        uint128 bond;
        Description description;
    }

    /// A node as an epoch's committees are chosen from.
    struct Member {
        NodeId id;
        /// The share in the choice of committees, 1 or more.
        uint32 weight;
        /// Address of the key that signs for it in that epoch.
        address signing;
    }

    event NodeRegistered(NodeId indexed node, address indexed operator);
    event NodeDescribed(NodeId indexed node);
    event StatusChanged(NodeId indexed node, Status status);
    event Bonded(NodeId indexed node, uint256 amount);
    event PayoutSet(NodeId indexed node, address payout);
    event BondWithdrawn(NodeId indexed node, uint256 amount);
    /// `amount` was taken from the bond for `offence`; the reporter had `bounty` of it.
    event Slashed(NodeId indexed node, bytes32 indexed offence, uint256 amount, uint256 bounty);
    /// `signing` signs for the node from the epoch `from` on.
    event SigningKeyAdded(NodeId indexed node, address signing, Epoch from);
    /// Everything that nodes read of the contracts is read as of the block of this event.
    event EpochAdvanced(Epoch indexed epoch);
    event PhaseAdvanced(Phase phase);
    event GuardianSet(address indexed guardian);

    error NotTheOperator(NodeId node);
    error WrongStatus(NodeId node, Status status);
    error KeyTaken();
    error NotTheSigner();
    error DescriptionOutOfBounds();
    error BondTooSmall(uint256 bond, uint256 min);
    error TooEarly(uint64 from);
    error WrongPhase(Phase phase);
    error NotAllowed(address caller);
    error UnknownEpoch(Epoch epoch);
    error UnknownShard(ShardId shard);
    /// The node is still in the committees of the current epoch.
    error StillMember(NodeId node);
    /// As many nodes are active as there may be.
    error TooManyNodes();
    /// An epoch would have no member.
    error NoMembers();
    error AddressZero();
    error Stopped();

    /// What every signature on this network binds (ENC-005).
    function networkId() external view returns (bytes32);
    function epoch() external view returns (Epoch);
    function phase() external view returns (Phase);
    function node(NodeId id) external view returns (Node memory);
    /// How many nodes were ever registered; their ids are 0 and up.
    function nodeCount() external view returns (uint32);
    /// Whether `key` is or was a signing key for whose statements `id` is liable.
    function isLiableKey(NodeId id, address key) external view returns (bool);
    /// Members by rising id, and the keys that sign for them in that epoch (TOP-005).
    function committee(ShardId shard, Epoch inEpoch)
        external
        view
        returns (NodeId[] memory members, address[] memory signers);
    /// Whether the committees can do without a node: it is no member, or more than two thirds of the
    /// members of the current epoch stay.
    function canSpare(NodeId id) external view returns (bool);
    /// Takes a share of the bond, pays the reporter's part, and jails the node;
    /// the court only. Reaches exiting bonds, and takes 0 of a node that is gone. Returns what was
    /// taken.
    function slash(NodeId id, uint256 permille, bytes32 offence, address reporter)
        external
        returns (uint256 taken);
    /// Takes a node out of committees, or fails its probation, for bad service; settlement only.
    function jail(NodeId id) external;
}
