// spec/vectors/ordered: votes, incarnations, and a lane played block by block.
import {
  PAYER, batchOf, bodyOf, byKey, envelopeId, session, targetShard,
} from "./envelopes.mjs";
import {
  DECIDED, EMPTY, LEAF, branchOf, decisions, encodePath, leavesOf, pathOfKey, subtree,
} from "./state.mjs";
import { committeeHash, groupTopic } from "./topics.mjs";
import {
  NETWORK, SALT, ZERO, bytes, device, hex, labelled, leafHash, node, rootOf, sha256, typedData,
  typedDigest, u16, u32, u64, vector, write,
} from "./wire.mjs";

const VOTE = [
  ["uint16", "shard"], ["uint64", "height"], ["uint32", "round"], ["uint8", "step"],
  ["bytes32", "block"],
];
const OPEN = [["uint32", "node"], ["uint16", "shard"], ["uint32", "previous"], ["bytes32", "nonce"]];
const operator = node("operator");

const openIncarnation = async (previous, nonce) => {
  const message = { node: 1, shard: 0, previous, nonce: `0x${hex(nonce)}` };
  const data = typedData(NETWORK, "OpenIncarnation", OPEN, message);
  const signature = await operator.signs(typedDigest(data));
  return { data, wire: bytes(u32(1), u16(0), u32(previous), nonce, signature) };
};
const vote = async (header) => {
  const message = {
    shard: header.shard,
    height: String(header.height),
    round: 0,
    step: 2,
    block: `0x${hex(header.hash)}`,
  };
  const data = typedData(NETWORK, "Vote", VOTE, message);
  const signature = await operator.signs(typedDigest(data));
  return { data, wire: bytes(u32(1), signature) };
};

// A lane of one node, as spec/06-ordered-lane.md describes it.
const lane = { height: 0, head: ZERO, period: 0, entries: new Map() };
const applied = (position) => bytes([1], u64(position));
const conflict = (position) => bytes([2], u64(position));
const refused = (code) => bytes([3], u16(code));
const REPEATED = 5;

const execute = (operations) => {
  const changes = new Map();
  const value = (key) => {
    const found = changes.has(hex(key)) ? changes.get(hex(key)) : lane.entries.get(hex(key));
    return found ?? null;
  };
  const set = (key, to) => changes.set(hex(key), to);
  let { period } = lane;
  const outcomes = operations.map((operation, index) => {
    if (operation.marker !== undefined) {
      if (operation.marker !== period + 1) return conflict(period);
      period += 1;
      set([1], u64(period));
      return applied(period);
    }
    if (operation.previous !== undefined) {
      const key = bytes([5], u32(1));
      const current = value(key) === null ? 0 : value(key).readUInt32BE(0);
      if (operation.previous !== current) return conflict(current);
      set(key, bytes(u32(current + 1), operation.nonce));
      return applied(current + 1);
    }
    const decided = bytes([6], u64(operation.notAfter), operation.id);
    if (value(decided) !== null) return refused(REPEATED);
    const all = bytes([8], u64(operation.notAfter));
    set(all, decisions(value(all) ?? ZERO, operation.id, lane.height + 1, u32(index)));
    set(decided, bytes(u64(lane.height + 1), u32(index)));
    const key = bytes([2], operation.topic);
    const position = value(key) === null ? 0 : Number(value(key).readBigUInt64BE(0));
    if (operation.expected !== undefined && operation.expected !== position) return conflict(position);
    set(key, bytes(u64(position + 1), labelled("operation", operation.wire)));
    return applied(position + 1);
  });
  for (const key of lane.entries.keys()) {
    const expires = [DECIDED, 8].includes(unhexed(key)[0]);
    const expiry = expires ? Number(unhexed(key).readBigUInt64BE(1)) : Infinity;
    if (expiry < period - 2) changes.set(key, null);
  }
  return { outcomes, changes, period };
};
const unhexed = (text) => Buffer.from(text, "hex");

const play = async (comment, operations) => {
  const { outcomes, changes, period } = execute(operations);
  const decided = operations.map((operation, index) => bytes(operation.wire, outcomes[index]));
  for (const [key, to] of changes) {
    if (to === null) lane.entries.delete(key);
    else lane.entries.set(key, to);
  }
  const root = subtree(leavesOf(lane.entries));
  const encoded = bytes(
    u16(1), u16(0), u64(lane.height + 1), lane.head, u64(period), [0], u64(1), u64(1),
    committeeHash(0, [1]), u32(decided.length), rootOf(decided.map(leafHash)), root,
  );
  const header = { shard: 0, height: lane.height + 1, hash: labelled("block", encoded) };
  const voted = await vote(header);
  Object.assign(lane, { height: header.height, head: header.hash, period });
  const block = bytes(encoded, vector(bytes(...decided)));
  return {
    comment,
    operations: operations.map((operation) => hex(operation.wire)),
    outcomes: outcomes.map(hex),
    header: hex(encoded),
    hash: hex(header.hash),
    state_root: hex(root),
    block: hex(block),
    vote: voted.data,
    certified: hex(bytes(block, u32(0), vector(voted.wire))),
  };
};

const marker = (period) => ({ marker: period, wire: bytes([3], u64(period), vector([])) });
const opening = async (previous, name) => {
  const nonce = sha256(`nonce ${name}`);
  const { wire } = await openIncarnation(previous, nonce);
  return { previous, nonce, wire: bytes([2], wire) };
};
const member = device("member");
const topic = groupTopic(member.raw);
const envelope = (text, notAfter, expected) => {
  const body = bodyOf({ topic, lane: "ordered", notAfter, expected, payload: bytes(text) });
  const id = envelopeId(body);
  const made = batchOf({ target: targetShard(0), notAfter, maxFee: 10n ** 9n, ids: [id] });
  const wire = bytes([1], byKey(body, member), made.batch, u32(0), vector([]));
  return { id, topic, notAfter, expected, wire };
};

const blocks = async () => [
  await play("the first period begins and a node opens its log", [
    marker(1),
    await opening(0, "one"),
  ]),
  await play("a commit takes the first position, then a proposal the second", [
    envelope("commit", 2, 0),
    envelope("proposal", 2),
  ]),
  await play("a commit comes late", [envelope("late", 2, 0)]),
  await play("the same text in a new envelope, and the first envelope again", [envelope("proposal", 3), envelope("proposal", 2)]),
  await play("a node opens twice from one start", [await opening(1, "two"), await opening(1, "two")]),
  await play("a period is left out", [marker(3)]),
  await play("the second period", [marker(2)]),
  await play("the third period", [marker(3)]),
  await play("the fourth period", [marker(4)]),
  await play("decisions are forgotten two periods after their expiry", [marker(5)]),
];

const statements = async () => {
  const cases = [];
  for (const [previous, name] of [[0, "one"], [4294967294, "last"]]) {
    const { data, wire } = await openIncarnation(previous, sha256(`nonce ${name}`));
    cases.push({
      comment: `incarnation after ${previous}`,
      typed_data: data,
      digest: hex(typedDigest(data)),
      signer: `0x${hex(operator.address)}`,
      wire: hex(wire),
    });
  }
  return cases;
};

const registry = {
  genesis: { chain_id: 0, registry: `0x${"00".repeat(20)}`, salt: hex(SALT) },
  epoch: 1,
  shard_count: 1,
  replication_factor: 1,
  period_ms: 10000,
  mailbox_buckets: 1,
  nodes: [
    {
      id: 1,
      name: "node-1",
      signing: `0x${hex(operator.address)}`,
      transport: hex(device("transport").raw),
      quic: "127.0.0.1:1",
      http: "http://127.0.0.1:1",
      weight: 1,
      active: true,
    },
  ],
  payers: [{ address: `0x${hex(PAYER)}`, session_keys: [hex(session.raw)] }],
  fees: {
    base: 2000000,
    byte_day: 100,
    ordered_permille: 4000,
    stamp_permille: 10000,
    congestion_permille: 1000,
  },
};

// Proofs under two blocks of the lane: one of a state with a few dozen keys, one of a single key.
const named = (name) => sha256(`state ${name}`);
const fullState = () => {
  const entries = new Map();
  const set = (key, value) => entries.set(hex(key), value);
  set([1], u64(7));
  for (let n = 0; n < 12; n += 1) {
    set(bytes([2], groupTopic(named(`topic ${n}`))), bytes(u64(n + 1), named(`operation ${n}`)));
    set(bytes([3], named(`inbox ${n}`)), bytes("the encoded state of an inbox, ", u32(n)));
    set(bytes([4], named(`account ${n}`).subarray(0, 20)), named(`inbox ${n}`));
    set(bytes([5], u32(n + 1)), bytes(u32(n), named(`nonce ${n}`)));
    set(bytes([DECIDED], u64(8), named(`envelope ${n}`)), bytes(u64(9), u32(n)));
  }
  set(bytes([7], u32(3), named("offence")), bytes(u64(5), u32(1)));
  set(bytes([8], u64(8)), named("decisions"));
  return entries;
};
const certify = async (entries, height) => {
  const header = bytes(
    u16(1), u16(0), u64(height), named("parent"), u64(7), [0], u64(1), u64(1),
    committeeHash(0, [1]), u32(0), rootOf([]), subtree(leavesOf(entries)),
  );
  const { wire } = await vote({ shard: 0, height, hash: labelled("block", header) });
  return bytes(header, u32(0), vector(wire));
};
const proofs = async () => {
  const [full, single] = [fullState(), new Map([[hex([1]), u64(1)]])];
  const [certified, certifiedSingle] = [await certify(full, 12), await certify(single, 1)];
  const encode = (key, leaf, path, block) => hex(bytes(u16(1), key, leaf, path, block));
  const valid = (comment, key, entries = full, block = certified) => {
    const { held, leaf, siblings } = branchOf(entries, key);
    const value = held === "nothing" ? {} : { value: hex(entries.get(hex(key))) };
    const wire = encode(key, leaf, encodePath(siblings), block);
    return { comment, key: hex(key), held, ...value, wire };
  };
  const inbox = (n) => bytes([3], named(`inbox ${n}`));
  const account = (n) => bytes([4], named(`account ${n}`).subarray(0, 20));
  const cases = [
    valid("the period", Buffer.from([1])),
    valid("a topic", bytes([2], groupTopic(named("topic 3")))),
    valid("an inbox", inbox(1)),
    valid("an account", account(1)),
    valid("an incarnation", bytes([5], u32(4))),
    valid("an offence", bytes([7], u32(3), named("offence"))),
    valid("the digest of decisions", bytes([8], u64(8))),
    valid("the only key", Buffer.from([1]), single, certifiedSingle),
    valid("another key than the only one", inbox(1), single, certifiedSingle),
  ];
  // Absent keys end at an empty place or at another key's leaf; some of either.
  const absent = Array.from({ length: 12 }, (_, n) => inbox(n + 20));
  cases.push(...absent.map((key, n) => valid(`absent inbox ${n}`, key)));
  const refused = (comment, key, change) => {
    const branch = { ...branchOf(full, key), key, block: certified };
    branch.path = encodePath(branch.siblings);
    const { key: claimed, leaf, path, block } = { ...branch, ...change(branch) };
    cases.push({ comment, key: hex(claimed), held: "refused", wire: encode(claimed, leaf, path, block) });
  };
  const ending = (kind) => absent.find((key) => branchOf(full, key).leaf[0] === kind);
  refused("an inbox is hidden", inbox(1), () => ({ leaf: LEAF.empty() }));
  refused("an inbox is hidden behind its own leaf", inbox(1), ({ leaf, key }) =>
    ({ leaf: LEAF.other(pathOfKey(key), leaf.subarray(1)) }));
  refused("an inbox is made up", ending(1), () => ({ leaf: LEAF.digest(named("made up")) }));
  refused("an account leads elsewhere", account(1), () => ({ leaf: LEAF.value(named("inbox 2")) }));
  refused("a value of the wrong length", account(1), () => ({ leaf: LEAF.value(Buffer.alloc(31)) }));
  refused("the hash of a small value", account(1), ({ leaf }) =>
    ({ leaf: LEAF.digest(labelled("state value", leaf.subarray(2))) }));
  refused("the value of an inbox", inbox(1), ({ key }) => ({ leaf: LEAF.value(full.get(hex(key))) }));
  refused("a proof for another key", inbox(1), () => ({ key: inbox(2) }));
  refused("another key's leaf from elsewhere", ending(2), () => {
    const { leaf, siblings } = branchOf(full, account(1));
    const hash = labelled("state value", leaf.subarray(2));
    return { leaf: LEAF.other(pathOfKey(account(1)), hash), path: encodePath(siblings) };
  });
  refused("a single decision", bytes([DECIDED], u64(8), named("envelope 1")), () =>
    ({ leaf: LEAF.empty(), path: encodePath([]) }));
  refused("a level too few", inbox(1), ({ siblings }) => ({ path: encodePath(siblings.slice(1)) }));
  refused("a level too many", inbox(1), ({ siblings }) =>
    ({ path: encodePath([...siblings, EMPTY]) }));
  refused("an empty subtree written out", inbox(1), ({ siblings }) => {
    const all = Buffer.alloc(Math.ceil(siblings.length / 8));
    siblings.forEach((_, level) => { all[level >> 3] |= 0x80 >> (level & 7); });
    all[0] |= 0x80;
    const hashes = [EMPTY, ...siblings.slice(1)];
    return { path: bytes(u16(siblings.length), vector(all), vector(bytes(...hashes))) };
  });
  // Where the siblings do not fill their last byte of bits.
  const ragged = [...Array(8).keys()].map((n) => inbox(n + 1))
    .find((key) => branchOf(full, key).siblings.length % 8 !== 0);
  refused("a bit beyond the length", ragged, ({ path }) => {
    const loose = Buffer.from(path);
    loose[2 + loose[2]] |= 1;
    return { path: loose };
  });
  refused("a byte of bits too many", inbox(1), ({ path }) => {
    const count = path[2];
    const bits = bytes(path.subarray(3, 3 + count), [0]);
    return { path: bytes(path.subarray(0, 2), vector(bits), path.subarray(3 + count)) };
  });
  refused("a block that nobody certified", inbox(1), ({ block }) => {
    const changed = Buffer.from(block);
    changed[11] ^= 1;
    return { block: changed };
  });
  return cases;
};

export const writeOrdered = async () => {
  const description = "A lane from its start; each case is the block after the one before.";
  const requests = "Requests to open an incarnation.";
  write("ordered", "incarnations", requests, await statements(), { network: hex(NETWORK) });
  write("ordered", "lane", description, await blocks(), { network: hex(NETWORK), registry });
  const held = "Proofs of what the state holds, and what is none.";
  write("ordered", "proofs", held, await proofs(), { network: hex(NETWORK), registry });
};
