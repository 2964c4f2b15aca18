// spec/vectors/envelopes: padding, client envelopes, payer batches, checkpoints.
import { groupTopic, identityTopic, keysTopic, mailboxTopic } from "./topics.mjs";
import {
  NETWORK, bytes, device, hex, labelled, leafHash, node, optional, pathOf, rootOf, sha256,
  typedData, typedDigest, u16, u32, u64, u8, vector, write,
} from "./wire.mjs";

export const LANE = { broadcast: 0, ordered: 1 };
export const PAYER = sha256("payer").subarray(0, 20);

const padding = () => {
  const padded = (length) => {
    const needed = Math.max(length + 1, 256);
    const exponent = Math.floor(Math.log2(needed));
    const kept = Math.floor(Math.log2(exponent)) + 1;
    const step = 2 ** (exponent - kept);
    return Math.ceil(needed / step) * step;
  };
  const lengths = [0, 1, 254, 255, 256, 271, 272, 511, 512, 1000, 4095, 65535, 65536, 1000000];
  return lengths.map((length) => ({ length, padded: padded(length) }));
};

export const bodyOf = (fields) =>
  bytes(
    u16(1),
    fields.topic,
    u8(LANE[fields.lane]),
    fields.payer ?? PAYER,
    u64(fields.notAfter),
    u16(fields.retentionDays ?? 30),
    optional(fields.expected === undefined ? null : u64(fields.expected)),
    optional(fields.depends === undefined ? null : bytes(fields.depends.topic, u64(fields.depends.position))),
    vector(fields.payload),
  );
export const envelopeId = (body) => labelled("envelope id", body);
export const byKey = (body, key) =>
  bytes(body, [1], key.raw, key.signs("topic write", NETWORK, body));
export const stamped = (body) => bytes(body, [2]);
export const bare = (body) => bytes(body, [3]);

const writer = device("writer");
const client = () => {
  const one = (comment, fields, proof) => {
    const body = bodyOf(fields);
    const finish = { key: () => byKey(body, writer), stamp: () => stamped(body), none: () => bare(body) };
    return {
      comment,
      topic: hex(fields.topic),
      lane: fields.lane,
      payer: `0x${hex(PAYER)}`,
      not_after: fields.notAfter,
      retention_days: fields.retentionDays ?? 30,
      expected_position: fields.expected ?? null,
      depends_on: fields.depends
        ? { topic: hex(fields.depends.topic), position: fields.depends.position }
        : null,
      payload: hex(fields.payload),
      proof,
      secret: proof === "key" ? hex(writer.secret) : null,
      body: hex(body),
      id: hex(envelopeId(body)),
      envelope: hex(finish[proof]()),
    };
  };
  const group = groupTopic(writer.raw);
  const text = bytes("ciphertext");
  return [
    one("a message", { topic: group, lane: "broadcast", notAfter: 7, payload: text }, "key"),
    one(
      "a message that presupposes a commit",
      { topic: group, lane: "broadcast", notAfter: 7, payload: text, depends: { topic: group, position: 3 } },
      "key",
    ),
    one("a commit", { topic: group, lane: "ordered", notAfter: 7, payload: text, expected: 3 }, "key"),
    one("a proposal", { topic: group, lane: "ordered", notAfter: 7, payload: text }, "key"),
    one(
      "key packages kept for a year",
      { topic: keysTopic(writer.raw), lane: "broadcast", notAfter: 0, retentionDays: 365, payload: text },
      "key",
    ),
    one("first contact", { topic: mailboxTopic(9), lane: "broadcast", notAfter: 7, payload: text }, "stamp"),
    one(
      "an identity update",
      { topic: identityTopic(sha256("inbox")), lane: "ordered", notAfter: 7, payload: text },
      "none",
    ),
    one("no payload", { topic: group, lane: "broadcast", notAfter: 7, payload: [] }, "key"),
    one(
      "a payload whose length takes two bytes",
      { topic: group, lane: "broadcast", notAfter: 7, payload: Buffer.alloc(64, 1) },
      "key",
    ),
    one(
      "a payload whose length takes four bytes",
      { topic: group, lane: "broadcast", notAfter: 7, payload: Buffer.alloc(16384, 2) },
      "key",
    ),
  ];
};

export const targetNode = (id) => bytes([1], u32(id));
export const targetShard = (shard) => bytes([2], u16(shard));
export const session = device("session");
export const batchOf = ({ target, epoch = 1, notAfter, maxFee, ids }) => {
  const leaves = ids.map(leafHash);
  const header = bytes(
    u16(1), PAYER, session.raw, target, u64(epoch), u64(notAfter), u64(maxFee), u32(ids.length),
    rootOf(leaves),
  );
  const batch = bytes(header, session.signs("payer batch", NETWORK, header));
  return { header, batch, root: rootOf(leaves), paths: ids.map((_, index) => pathOf(leaves, index)) };
};

const batches = () => {
  const one = (comment, target, fields, count) => {
    const ids = Array.from({ length: count }, (_, index) => sha256(`id ${index}`));
    const made = batchOf({ ...fields, target, ids });
    return {
      comment,
      payer: `0x${hex(PAYER)}`,
      secret: hex(session.secret),
      target: hex(target),
      registry_epoch: 1,
      not_after: fields.notAfter,
      max_fee: String(fields.maxFee),
      ids: ids.map(hex),
      root: hex(made.root),
      header: hex(made.header),
      batch_id: hex(labelled("batch id", made.header)),
      batch: hex(made.batch),
      paths: made.paths.map((path) => path.map(hex)),
    };
  };
  return [
    one("one envelope for a node", targetNode(3), { notAfter: 7, maxFee: 2000000n }, 1),
    one("two envelopes for a shard", targetShard(2), { notAfter: 7, maxFee: 2n ** 64n - 1n }, 2),
    one("seven envelopes", targetNode(4294967295), { notAfter: 0, maxFee: 0n }, 7),
    one("eight envelopes", targetShard(0), { notAfter: 9, maxFee: 1n }, 8),
  ];
};

// Statements for a contract to judge.
const CHECKPOINT = [
  ["uint32", "node"], ["uint16", "shard"], ["uint32", "incarnation"], ["uint64", "size"],
  ["bytes32", "root"], ["uint64", "period"],
];
const ACKNOWLEDGEMENT = [["uint32", "replica"], ["bytes32", "checkpoint"]];

const statements = async () => {
  const cases = [];
  const signers = [node("one"), node("two")];
  for (const [index, size] of [0n, 1n, 1000n, 2n ** 64n - 1n].entries()) {
    const signer = signers[index % 2];
    const message = {
      node: index + 1,
      shard: index,
      incarnation: index * 7 + 1,
      size: String(size),
      root: `0x${hex(sha256(`root ${index}`))}`,
      period: String(index * 1000),
    };
    const data = typedData(NETWORK, "Checkpoint", CHECKPOINT, message);
    const digest = typedDigest(data);
    const signature = await signer.signs(digest);
    const wire = bytes(
      u16(1), u32(message.node), u16(message.shard), u32(message.incarnation), u64(size),
      sha256(`root ${index}`), u64(message.period), signature,
    );
    const common = { secret: hex(signer.secret), signer: `0x${hex(signer.address)}` };
    cases.push({
      comment: `checkpoint ${index}`,
      kind: "checkpoint",
      typed_data: data,
      digest: hex(digest),
      ...common,
      wire: hex(wire),
    });
    const acknowledges = { replica: index + 9, checkpoint: `0x${hex(digest)}` };
    const acknowledgement = typedData(NETWORK, "Acknowledgement", ACKNOWLEDGEMENT, acknowledges);
    const hash = typedDigest(acknowledgement);
    cases.push({
      comment: `acknowledgement of checkpoint ${index}`,
      kind: "acknowledgement",
      typed_data: acknowledgement,
      digest: hex(hash),
      ...common,
      wire: hex(bytes(u32(acknowledges.replica), await signer.signs(hash))),
    });
  }
  return cases;
};

const entries = () => {
  const topic = groupTopic(writer.raw);
  const body = bodyOf({ topic, lane: "broadcast", notAfter: 7, payload: bytes("ciphertext") });
  const id = envelopeId(body);
  const made = batchOf({ target: targetNode(3), notAfter: 7, maxFee: 10n ** 9n, ids: [id] });
  const payload = bytes(byKey(body, writer), made.batch, u32(0), vector([]));
  const header = bytes(
    u16(1), id, u64(5), u64(1700000000), topic, u64(2), sha256("previous"), PAYER, sha256(payload),
    u32(payload.length), u16(30), u64(7), u64(2003000n),
  );
  const one = (comment, entry) => ({
    comment,
    header: hex(header),
    hash: hex(leafHash(header)),
    envelope_id: hex(id),
    payer_envelope: hex(payload),
    entry: hex(entry),
  });
  return [
    one("an entry with its payload", bytes(header, [1], vector(payload))),
    one("an entry whose payload was pruned", bytes(header, [0])),
  ];
};

export const writeEnvelopes = async () => {
  const shared = { network: hex(NETWORK) };
  write("envelopes", "padding", "What lengths are padded to.", padding());
  write("envelopes", "client", "Client envelopes, their ids and proofs.", client(), shared);
  write("envelopes", "batches", "Payer batches and the paths of their envelopes.", batches(), shared);
  write("envelopes", "statements", "Checkpoints and acknowledgements.", await statements(), shared);
  write("envelopes", "entries", "Log entries and their hashes.", entries(), shared);
};
