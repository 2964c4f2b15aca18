// spec/vectors/topics: ids, shards, mailbox buckets, costs and committees.
import { bytes, device, hex, labelled, number, sha256, u16, u32, write } from "./wire.mjs";

export const KIND = { group: 0, keys: 1, mailbox: 2, identity: 3, xmtp: 4 };
const firstEight = (hash) => hash.readBigUInt64BE(0);
export const groupTopic = (key) => bytes([KIND.group], labelled("group topic", key));
export const keysTopic = (key) => bytes([KIND.keys], labelled("keys topic", key));
export const mailboxTopic = (bucket) => bytes([KIND.mailbox], Buffer.alloc(28), u32(bucket));
export const identityTopic = (inbox) => bytes([KIND.identity], inbox);
export const shardOf = (topic, count) =>
  topic[0] === KIND.identity ? 0 : Number(firstEight(labelled("topic shard", topic)) % BigInt(count));

const ids = () => {
  const one = (kind, source, topic) => ({
    kind,
    source: hex(source),
    topic: hex(topic),
    shards: [1, 4, 64, 32768].map((count) => ({ count, shard: shardOf(topic, count) })),
  });
  const keys = ["one", "two", "three"].map((name) => device(name).raw);
  return [
    ...keys.map((key) => one("group", key, groupTopic(key))),
    ...keys.map((key) => one("keys", key, keysTopic(key))),
    ...[0, 1, 4294967295].map((bucket) => one("mailbox", u32(bucket), mailboxTopic(bucket))),
    one("identity", sha256("inbox"), identityTopic(sha256("inbox"))),
  ];
};

const buckets = () => {
  const cases = [];
  for (const name of ["one", "two", "three"]) {
    for (const count of [1, 7, 256, 4294967295]) {
      const installation = device(name).raw;
      const bucket = firstEight(labelled("mailbox bucket", installation)) % BigInt(count);
      cases.push({ installation: hex(installation), buckets: count, bucket: Number(bucket) });
    }
  }
  return cases;
};

// -log2((hash + 1) / 2^64) with 32 fractional bits, from 256 fractional bits of working room.
const ROOM = 256n;
export const cost = (hash) => {
  const value = hash + 1n;
  const exponent = BigInt(value.toString(2).length - 1);
  let mantissa = (value << ROOM) >> exponent;
  let fraction = 0n;
  for (let bit = 0; bit < 32; bit += 1) {
    mantissa = (mantissa * mantissa) >> ROOM;
    fraction <<= 1n;
    if (mantissa >> (ROOM + 1n)) {
      fraction |= 1n;
      mantissa >>= 1n;
    }
  }
  return (64n << 32n) - ((exponent << 32n) | fraction);
};
const lot = (shard, id) => firstEight(labelled("rendezvous", u16(shard), u32(id)));

const costs = () => {
  const one = (comment, hash) => ({ comment, hash: hex(number(hash, 8)), cost: String(cost(hash)) });
  const ends = [
    one("the least hash", 0n),
    one("the largest hash", 2n ** 64n - 1n),
    one("a power of two", 2n ** 40n - 1n),
    one("just below a power of two", 2n ** 40n - 2n),
    one("just above a power of two", 2n ** 40n),
  ];
  const drawn = Array.from({ length: 200 }, (_, index) =>
    one(`draw ${index}`, firstEight(sha256(`cost ${index}`))),
  );
  return [...ends, ...drawn];
};

export const committeeOf = (nodes, shard, replication) => {
  const drawn = nodes
    .filter((node) => node.active && node.weight > 0)
    .map((node) => ({ ...node, cost: cost(lot(shard, node.id)) }));
  drawn.sort((one, other) => {
    const difference = one.cost * BigInt(other.weight) - other.cost * BigInt(one.weight);
    if (difference !== 0n) return difference < 0n ? -1 : 1;
    return one.id - other.id;
  });
  return drawn.slice(0, replication).map((node) => node.id);
};
export const committeeHash = (shard, committee) => {
  const sorted = [...committee].sort((one, other) => one - other);
  return labelled("committee", u16(shard), ...sorted.map(u32));
};

const committees = () => {
  const equal = (count) =>
    Array.from({ length: count }, (_, index) => ({ id: index + 1, weight: 1, active: true }));
  const weighted = equal(12).map((node) => ({ ...node, weight: node.id * node.id }));
  const gaps = equal(12).map((node) => ({
    id: node.id * 1000003,
    weight: node.id % 4,
    active: node.id % 5 !== 0,
  }));
  const one = (comment, nodes, shard, replication) => {
    const committee = committeeOf(nodes, shard, replication);
    const faults = Math.floor((committee.length - 1) / 3);
    return {
      comment,
      nodes,
      shard,
      replication_factor: replication,
      committee,
      committee_hash: hex(committeeHash(shard, committee)),
      faults_tolerated: faults,
      durability_quorum: faults + 1,
      certificate_quorum: Math.floor((committee.length * 2) / 3) + 1,
    };
  };
  const shards = [0, 1, 2, 3, 255, 32767];
  return [
    one("a node alone", equal(1), 0, 4),
    one("fewer nodes than the factor", equal(3), 0, 4),
    ...shards.map((shard) => one(`eight equal nodes, shard ${shard}`, equal(8), shard, 4)),
    ...shards.map((shard) => one(`twelve weighted nodes, shard ${shard}`, weighted, shard, 7)),
    ...shards.map((shard) => one(`nodes away or without weight, shard ${shard}`, gaps, shard, 4)),
    one("a full committee", equal(40), 5, 31),
  ];
};

export const writeTopics = () => {
  write("topics", "ids", "Topics and the shards that keep them.", ids());
  write("topics", "buckets", "The mailbox bucket of an installation.", buckets());
  write("topics", "costs", "What a hash costs before it is divided by a weight.", costs());
  write("topics", "committees", "The committee of a shard, best first.", committees());
};
