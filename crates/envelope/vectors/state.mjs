// The state tree and its proofs, as spec/06-ordered-lane.md defines them.
import { bytes, hex, labelled, sha256, u16, u64, unhex, vector } from "./wire.mjs";

export const EMPTY = Buffer.from("SPARSE_MERKLE_PLACEHOLDER_HASH__");
export const DECIDED = 6;

// Entries are a map from encoded keys in hex to encoded values.
export const leavesOf = (entries) => [...entries]
  .filter(([key]) => unhex(key)[0] !== DECIDED)
  .map(([key, to]) => [pathOfKey(unhex(key)), labelled("state value", to)]);
export const pathOfKey = (key) => labelled("state key", key);

const goesRight = (path, depth) => ((path[depth >> 3] >> (7 - (depth & 7))) & 1) === 1;
const half = (leaves, depth, side) => leaves.filter(([path]) => goesRight(path, depth) === side);

// No leaf, one leaf, or two halves by the next bit.
export const subtree = (leaves, depth = 0) => {
  if (leaves.length === 0) return EMPTY;
  if (leaves.length === 1) return sha256(bytes("JMT::LeafNode", ...leaves[0]));
  const hash = (side) => subtree(half(leaves, depth, side), depth + 1);
  return sha256(bytes("JMT::IntrnalNode", hash(false), hash(true)));
};

// The way to a key: the leaf at its end, if there is one, and the hashes beside it.
export const wayTo = (leaves, path, depth = 0) => {
  if (leaves.length < 2) return { leaf: leaves[0] ?? null, siblings: [] };
  const side = goesRight(path, depth);
  const { leaf, siblings } = wayTo(half(leaves, depth, side), path, depth + 1);
  return { leaf, siblings: [subtree(half(leaves, depth, !side), depth + 1), ...siblings] };
};

export const encodePath = (siblings) => {
  const occupied = Buffer.alloc(Math.ceil(siblings.length / 8));
  siblings.forEach((hash, level) => {
    if (!hash.equals(EMPTY)) occupied[level >> 3] |= 0x80 >> (level & 7);
  });
  const hashes = siblings.filter((hash) => !hash.equals(EMPTY));
  return bytes(u16(siblings.length), vector(occupied), vector(bytes(...hashes)));
};

export const LEAF = {
  empty: () => bytes([1]),
  other: (path, value) => bytes([2], path, value),
  value: (value) => bytes([3], vector(value)),
  digest: (hash) => bytes([4], hash),
};

// What lies at a key's place and beside the way to it.
export const branchOf = (entries, key) => {
  const path = pathOfKey(key);
  const { leaf, siblings } = wayTo(leavesOf(entries), path);
  const held = entries.get(hex(key));
  if (leaf === null) return { held: "nothing", leaf: LEAF.empty(), siblings };
  if (!leaf[0].equals(path)) return { held: "nothing", leaf: LEAF.other(...leaf), siblings };
  if (key[0] === 3) return { held: "digest", leaf: LEAF.digest(leaf[1]), siblings };
  return { held: "value", leaf: LEAF.value(held), siblings };
};

export const decisions = (before, id, height, index) =>
  labelled("decisions", before, id, u64(height), index);
