// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Period, ShardId} from "./Types.sol";
import {Parameter} from "./generated/ParameterTable.sol";
import {ProtocolConstants} from "./generated/ProtocolConstants.sol";
import {IGuardian} from "./interfaces/IGuardian.sol";
import {INetworkParameters} from "./interfaces/INetworkParameters.sol";
import {IPayerVault} from "./interfaces/IPayerVault.sol";
import {IUsageSettlement} from "./interfaces/IUsageSettlement.sol";
import {CapHistory} from "./lib/CapHistory.sol";
import {SessionKeys} from "./lib/SessionKeys.sol";

/// Holds payers' money. It stays when everything around it is replaced, so it trusts the
/// settlement with no more than the caps that payers set: what it takes at once is bounded by
/// what is reserved, and what it takes over time by twice the cap per period of real time.
contract PayerVault is IPayerVault, AccessManaged, ReentrancyGuardTransient {
    using CapHistory for CapHistory.Cap[];
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using SessionKeys for SessionKeys.Key[];

    struct Account {
        uint128 balance;
        /// The sum of what is kept for caps, over all shards.
        uint128 reserved;
    }

    struct Withdrawal {
        uint128 amount;
        uint64 from;
    }

    /// What was taken from a payer for a shard, and may be.
    struct Tab {
        /// What is reserved: the largest cap not yet released, times its window.
        uint128 kept;
        uint64 chargedThrough;
        /// When what was taken will be earned back at twice the cap per period, in milliseconds.
        uint64 aheadUntilMs;
        /// Allowed and wanted, but the money or the time was not there.
        uint128 carried;
        /// Allowed for periods up to the charged one, and not wanted. Reports bill late what comes
        /// late, so the caps of the last of them can still be used.
        uint128 spare;
    }

    struct Proposal {
        address settlement;
        uint64 from;
        /// How long a withdrawal took when this was proposed.
        uint32 withdrawalSeconds;
    }

    /// How long payers may hesitate to leave when another settlement is proposed.
    uint256 public constant NOTICE_SECONDS = 7 days;
    /// Proposers that hurry shorten a period to half at most.
    uint256 private constant PACE_MAX = 2;
    /// How many periods after one its report is made.
    uint256 private constant REPORT_PERIODS = 2;
    /// A smaller cap has to wait for such a part of its window.
    uint256 private constant LOWER_NOTICE_PARTS = 4;
    /// Whose balance is less than such a part of what is reserved counts as short.
    uint256 public constant COVER_PARTS = 8;

    IERC20 public immutable token;
    INetworkParameters public immutable parameters;
    IGuardian public immutable guardian;
    /// Stands for the end of period 0 until something is settled.
    uint64 public immutable deployedAt;

    /// Who may collect; zero until it is set.
    IUsageSettlement public settlement;
    /// The next settlement; zero where none is proposed.
    Proposal public proposal;

    /// @inheritdoc IPayerVault
    uint256 public total;

    mapping(address payer => Account) private _accounts;
    mapping(address payer => Withdrawal) private _withdrawals;
    mapping(address payer => SessionKeys.Key[]) private _sessionKeys;
    mapping(address payer => mapping(ShardId shard => Tab)) private _tabs;
    mapping(address payer => mapping(ShardId shard => CapHistory.Cap[])) private _caps;
    mapping(address settlement => mapping(ShardId shard => uint256)) private _pools;

    /// `authority` is the access manager, `token_` the stable token with six decimals.
    constructor(
        address authority,
        IERC20 token_,
        INetworkParameters parameters_,
        IGuardian guardian_
    ) AccessManaged(authority) {
        token = token_;
        parameters = parameters_;
        guardian = guardian_;
        deployedAt = uint64(block.timestamp);
    }

    // Deposits and withdrawals.

    /// @inheritdoc IPayerVault
    function deposit(address payer, uint256 amount) external nonReentrant {
        // SET-008.
        _deposit(payer, amount);
    }

    /// @inheritdoc IPayerVault
    function depositWithPermit(
        address payer,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // Whoever saw the permit may have sent it in first; then the allowance is there already,
        // and where it is not, the transfer says so.
        // The guard keeps a token that calls back out of whatever moves money.
        // slither-disable-next-line reentrancy-benign
        try IERC20Permit(address(token))
            .permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        _deposit(payer, amount);
    }

    /// @inheritdoc IPayerVault
    function requestWithdrawal(uint256 amount) external {
        require(amount > 0, AmountZero());
        Account storage account = _accounts[msg.sender];
        uint256 free = Math.saturatingSub(account.balance, account.reserved);
        require(amount <= free, BalanceTooSmall(free, amount));

        Withdrawal storage withdrawal = _withdrawals[msg.sender];
        uint64 from = (block.timestamp + _withdrawalSeconds()).toUint64();
        account.balance -= amount.toUint128();
        withdrawal.amount += amount.toUint128();
        withdrawal.from = from;
        emit WithdrawalRequested(msg.sender, withdrawal.amount, from);
    }

    /// @inheritdoc IPayerVault
    function cancelWithdrawal() external {
        uint128 amount = _withdrawals[msg.sender].amount;
        require(amount > 0, NothingRequested());
        delete _withdrawals[msg.sender];
        Account storage account = _accounts[msg.sender];
        bool before = _isCovered(account);
        account.balance += amount;
        emit WithdrawalCancelled(msg.sender, amount);
        _tellCover(msg.sender, account, before);
    }

    /// @inheritdoc IPayerVault
    function withdraw(address to) external nonReentrant {
        // SET-011.
        Withdrawal memory withdrawal = _withdrawals[msg.sender];
        require(withdrawal.amount > 0, NothingRequested());
        // forge-lint: disable-next-line(block-timestamp)
        require(block.timestamp >= withdrawal.from, TooEarly(withdrawal.from));
        delete _withdrawals[msg.sender];
        emit Withdrawn(msg.sender, to, withdrawal.amount);
        _send(to, withdrawal.amount);
    }

    // Session keys.

    /// @inheritdoc IPayerVault
    function setSessionKey(bytes32 key, uint64 expires) external {
        // forge-lint: disable-next-line(block-timestamp)
        require(expires > block.timestamp, ExpiryPassed(expires));
        (bool done, bytes32 dropped) = _sessionKeys[msg.sender].set(key, expires);
        require(done, TooManySessionKeys());
        if (dropped != 0) {
            emit SessionKeyRemoved(msg.sender, dropped);
        }
        emit SessionKeySet(msg.sender, key, expires);
    }

    /// @inheritdoc IPayerVault
    function removeSessionKey(bytes32 key) external {
        require(_sessionKeys[msg.sender].remove(key), UnknownSessionKey());
        emit SessionKeyRemoved(msg.sender, key);
    }

    // Caps.

    /// @inheritdoc IPayerVault
    function setCap(ShardId shard, uint128 amount) external {
        // SET-009.
        CapHistory.Cap[] storage history = _caps[msg.sender][shard];
        CapHistory.Cap memory before = history.latest();
        // Reports that reach a cap's first period show that it is in force. This also keeps the
        // history in order: the next cap holds from a period after the last reported one.
        require(_settledThrough(shard) >= before.from, CapChangePending(Period.wrap(before.from)));

        uint32 window = SafeCast.toUint32(parameters.value(Parameter.CapWindowPeriods));
        Tab storage tab = _tabs[msg.sender][shard];
        Account storage account = _accounts[msg.sender];
        uint128 kept = tab.kept;
        uint128 needed = (uint256(amount) * window).toUint128();
        if (needed > kept) {
            account.reserved += needed - kept;
            tab.kept = needed;
        }
        // Whoever was charged below what is reserved may still lower a cap.
        if (needed > kept || amount > before.amount) {
            require(
                account.balance >= account.reserved,
                BalanceTooSmall(account.balance, account.reserved)
            );
        }

        uint256 from = _currentPeriodMax(shard) + parameters.value(Parameter.CapNoticePeriods);
        if (amount < before.amount) {
            // Reports may lag behind periods that are over, of which nobody took less in.
            from += window / LOWER_NOTICE_PARTS;
        }
        history.push(from.toUint64(), uint256(amount).toUint64(), window);
        emit CapSet(msg.sender, shard, amount, Period.wrap(from.toUint64()));
    }

    /// @inheritdoc IPayerVault
    function releaseCap(address payer, ShardId shard) external {
        CapHistory.Cap memory cap = _caps[payer][shard].latest();
        Tab storage tab = _tabs[payer][shard];
        uint256 needed = uint256(cap.amount) * cap.window;
        require(tab.kept > needed, NothingToRelease());
        // Only now no period of a larger cap is among the last `window` reported ones.
        uint256 until = uint256(cap.from) + cap.window - 1;
        require(_settledThrough(shard) >= until, CapKept(Period.wrap(until.toUint64())));

        Account storage account = _accounts[payer];
        bool before = _isCovered(account);
        uint128 freed = tab.kept - needed.toUint128();
        tab.kept -= freed;
        account.reserved -= freed;
        emit CapReleased(payer, shard, freed);
        _tellCover(payer, account, before);
    }

    // What the settlement does.

    /// @inheritdoc IPayerVault
    function collect(address payer, ShardId shard, uint256 wanted, Period through)
        external
        nonReentrant
        returns (uint256 taken)
    {
        // SET-010.
        require(msg.sender == address(settlement), NotSettlement(msg.sender));
        _requireRunning();
        taken =
            _take(payer, _tabs[payer][shard], _caps[payer][shard], wanted, Period.unwrap(through));
        _pools[msg.sender][shard] += taken;
        emit Collected(payer, shard, taken, through);
    }

    /// @inheritdoc IPayerVault
    function pay(ShardId shard, address to, uint256 amount) external nonReentrant {
        uint256 pool = _pools[msg.sender][shard];
        require(amount > 0, AmountZero());
        require(amount <= pool, PoolTooSmall(pool, amount));
        _pools[msg.sender][shard] = pool - amount;
        emit PaidOut(shard, to, amount);
        _send(to, amount);
    }

    // Governance.

    /// @inheritdoc IPayerVault
    function setSettlement(address settlement_) external restricted {
        require(address(settlement) == address(0), SettlementAlreadySet());
        settlement = IUsageSettlement(settlement_);
        emit SettlementSet(settlement_);
    }

    /// @inheritdoc IPayerVault
    function proposeSettlement(address settlement_) external restricted {
        if (settlement_ == address(0)) {
            delete proposal;
            emit SettlementProposed(settlement_, 0);
            return;
        }
        // The wait in force, without the bound that a standing proposal sets.
        uint32 wait = SafeCast.toUint32(parameters.value(Parameter.WithdrawalSeconds));
        uint64 from = (block.timestamp + wait + NOTICE_SECONDS).toUint64();
        proposal = Proposal(settlement_, from, wait);
        emit SettlementProposed(settlement_, from);
    }

    /// @inheritdoc IPayerVault
    function acceptSettlement() external {
        Proposal memory next = proposal;
        require(next.settlement != address(0), NothingProposed());
        // forge-lint: disable-next-line(block-timestamp)
        require(block.timestamp > next.from, TooEarly(next.from + 1));
        delete proposal;
        settlement = IUsageSettlement(next.settlement);
        emit SettlementSet(next.settlement);
    }

    // Views.

    /// @inheritdoc IPayerVault
    function balanceOf(address payer) external view returns (uint256) {
        return _accounts[payer].balance;
    }

    /// @inheritdoc IPayerVault
    function reservedOf(address payer) external view returns (uint256) {
        return _accounts[payer].reserved;
    }

    /// @inheritdoc IPayerVault
    function isCovered(address payer) external view returns (bool) {
        // SET-026.
        return _isCovered(_accounts[payer]);
    }

    /// @inheritdoc IPayerVault
    function withdrawalOf(address payer) external view returns (uint256 amount, uint64 from) {
        Withdrawal memory withdrawal = _withdrawals[payer];
        return (withdrawal.amount, withdrawal.from);
    }

    /// @inheritdoc IPayerVault
    function sessionKeysOf(address payer)
        external
        view
        returns (bytes32[] memory keys, uint64[] memory expiries)
    {
        return _sessionKeys[payer].live();
    }

    /// @inheritdoc IPayerVault
    function capAt(address payer, ShardId shard, Period period) external view returns (uint128) {
        return _caps[payer][shard].inForce(Period.unwrap(period)).amount;
    }

    /// @inheritdoc IPayerVault
    function latestCapOf(address payer, ShardId shard)
        external
        view
        returns (uint128 amount, Period from, uint32 window)
    {
        CapHistory.Cap memory cap = _caps[payer][shard].latest();
        return (cap.amount, Period.wrap(cap.from), cap.window);
    }

    /// @inheritdoc IPayerVault
    function chargedThrough(address payer, ShardId shard) external view returns (Period) {
        return Period.wrap(_tabs[payer][shard].chargedThrough);
    }

    /// @inheritdoc IPayerVault
    function carriedOf(address payer, ShardId shard) external view returns (uint256) {
        return _tabs[payer][shard].carried;
    }

    /// @inheritdoc IPayerVault
    function allowance(address payer, ShardId shard, Period first, Period last)
        external
        view
        returns (uint256)
    {
        return _caps[payer][shard].sum(Period.unwrap(first), Period.unwrap(last));
    }

    /// @inheritdoc IPayerVault
    function poolOf(address settlement_, ShardId shard) external view returns (uint256) {
        return _pools[settlement_][shard];
    }

    // Helpers.

    function _deposit(address payer, uint256 amount) private {
        _requireRunning();
        require(amount > 0, AmountZero());
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        // Nobody comes between the two readings.
        // slither-disable-next-line incorrect-equality
        require(token.balanceOf(address(this)) == before + amount, TokenMisbehaved());
        Account storage account = _accounts[payer];
        bool isCovered_ = _isCovered(account);
        account.balance += amount.toUint128();
        total += amount;
        emit Deposited(payer, msg.sender, amount);
        _tellCover(payer, account, isCovered_);
    }

    /// Sends tokens out; to the vault itself would strand them, and fails.
    function _send(address to, uint256 amount) private {
        total -= amount;
        uint256 before = token.balanceOf(address(this));
        token.safeTransfer(to, amount);
        // Nobody comes between the two readings.
        // slither-disable-next-line incorrect-equality
        require(token.balanceOf(address(this)) == before - amount, TokenMisbehaved());
    }

    function _isCovered(Account storage account) private view returns (bool) {
        return account.balance >= account.reserved / COVER_PARTS;
    }

    /// Tells whoever takes snapshots of payers, if that has changed.
    function _tellCover(address payer, Account storage account, bool before) private {
        bool now_ = _isCovered(account);
        if (now_ != before) {
            emit CoverChanged(payer, now_);
        }
    }

    /// Takes up to `due` from the balance, then from what is asked back.
    function _draw(address payer, uint256 due) private returns (uint256 taken) {
        Account storage account = _accounts[payer];
        bool before = _isCovered(account);
        taken = Math.min(due, account.balance);
        account.balance -= taken.toUint128();
        _tellCover(payer, account, before);
        if (taken < due) {
            Withdrawal storage withdrawal = _withdrawals[payer];
            uint256 rest = Math.min(due - taken, withdrawal.amount);
            withdrawal.amount -= rest.toUint128();
            taken += rest;
        }
    }

    /// Takes of `due` what may be taken now: all that is reserved at once, and again as fast as
    /// hurried periods can pass. Without this a settlement that invents periods would take
    /// a payer's whole balance.
    function _drawInPace(address payer, Tab storage tab, uint256 window, uint256 due)
        private
        returns (uint256 taken)
    {
        uint256 kept = tab.kept;
        if (kept == 0) {
            return 0;
        }
        // In how long `kept` is earned back; never 0, because a period is a second or more.
        // Half a millisecond is lost at most.
        // slither-disable-next-line divide-before-multiply
        uint256 spanMs = window * parameters.value(Parameter.PeriodMs) / PACE_MAX;
        uint256 nowMs = block.timestamp * 1000;
        uint256 aheadMs = Math.max(tab.aheadUntilMs, nowMs);
        uint256 room = kept * Math.saturatingSub(spanMs, aheadMs - nowMs) / spanMs;
        taken = _draw(payer, Math.min(due, room));
        tab.aheadUntilMs = (aheadMs + Math.ceilDiv(taken * spanMs, kept)).toUint64();
    }

    /// Takes what is wanted and allowed for the periods through `last`, as far as it is there.
    function _take(
        address payer,
        Tab storage tab,
        CapHistory.Cap[] storage history,
        uint256 wanted,
        uint64 last
    ) private returns (uint256 taken) {
        (uint128 carried, uint128 spare) = (tab.carried, tab.spare);
        uint256 allowed = carried;
        bool isNext = last > tab.chargedThrough;
        if (isNext) {
            allowed += spare + history.sum(tab.chargedThrough + 1, last);
            tab.chargedThrough = last;
        }
        wanted = Math.min(wanted, allowed);
        taken = wanted == 0 ? 0 : _drawInPace(payer, tab, history.latest().window, wanted);
        // A charge of little must not wipe out what is carried.
        wanted = Math.max(wanted, carried);
        uint128 left = (wanted - taken).toUint128();
        uint128 unused = isNext ? _keptOf(history, allowed - wanted, last) : spare;
        if (left != carried || unused != spare) {
            (tab.carried, tab.spare) = (left, unused);
        }
    }

    /// What stays of an allowance that was not wanted through `last`: no more than the caps of the
    /// last periods, for which something may still be billed.
    function _keptOf(CapHistory.Cap[] storage history, uint256 unused, uint64 last)
        private
        view
        returns (uint128)
    {
        uint64 kept = uint64(ProtocolConstants.LATE_PERIODS_MAX);
        uint64 first = last < kept ? 0 : last - (kept - 1);
        return unused == 0 ? 0 : Math.min(unused, history.sum(first, last)).toUint128();
    }

    /// The latest period that can have begun: the one in which the last report can have been made
    /// and those since at the fastest pace.
    function _currentPeriodMax(ShardId shard) private view returns (uint256) {
        uint256 periodMs = parameters.value(Parameter.PeriodMs);
        uint256 acceptedAt = settlement.lastAcceptedAt(shard);
        // Zero stands for never, and is no time that anybody could hit.
        // slither-disable-next-line incorrect-equality
        if (acceptedAt == 0) {
            return PACE_MAX * Math.ceilDiv((block.timestamp - deployedAt) * 1000, periodMs);
        }
        uint256 elapsedMs = (block.timestamp - acceptedAt) * 1000 + 1;
        uint256 since = REPORT_PERIODS + PACE_MAX * Math.ceilDiv(elapsedMs, periodMs);
        return _settledThrough(shard) + since;
    }

    function _settledThrough(ShardId shard) private view returns (uint64) {
        require(address(settlement) != address(0), NotSettlement(address(0)));
        return Period.unwrap(settlement.lastPeriod(shard));
    }

    /// How long a withdrawal takes; never longer than it took when another settlement was
    /// proposed, so that who asks within the notice is out before it comes.
    function _withdrawalSeconds() private view returns (uint256) {
        uint256 wait = parameters.value(Parameter.WithdrawalSeconds);
        return proposal.settlement == address(0) ? wait : Math.min(wait, proposal.withdrawalSeconds);
    }

    function _requireRunning() private view {
        require(!guardian.isPaused(address(this)), Stopped());
    }
}
