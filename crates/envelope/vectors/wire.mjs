// Encoding, hashing and signing as spec/01-encoding.md states them, made by hand.
import { createHash, createPrivateKey, createPublicKey, sign as nodeSign } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { hashDomain, hashTypedData, serializeCompactSignature, signatureToCompactSignature } from "viem";
import { privateKeyToAccount, sign } from "viem/accounts";

export const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
export const sha256 = (data) => createHash("sha256").update(data).digest();
export const hex = (data) => Buffer.from(data).toString("hex");
export const unhex = (text) => Buffer.from(text.replace(/^0x/, ""), "hex");
export const number = (value, width) => {
  const out = Buffer.alloc(width);
  let rest = BigInt(value);
  for (let i = width - 1; i >= 0; i -= 1, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
};
export const u8 = (value) => number(value, 1);
export const u16 = (value) => number(value, 2);
export const u32 = (value) => number(value, 4);
export const u64 = (value) => number(value, 8);
// Variable-length vectors of RFC 9420 §2.1.2: the length is in bytes.
export const vector = (data) => {
  if (data.length < 64) return bytes([data.length], data);
  if (data.length < 16384) return bytes(u16(0x4000 | data.length), data);
  return bytes(u32(0x80000000 + data.length), data);
};
export const optional = (value) => (value === null ? Buffer.from([0]) : bytes([1], value));
export const ZERO = Buffer.alloc(32);

export const labelled = (label, ...parts) => sha256(bytes("Tidings 1.0 ", label, [0], ...parts));
export const preimage = (label, network, body) =>
  bytes("Tidings 1.0 ", label, [0], network, body);

// Ed25519 keys from a name, signing through Node.js.
export const device = (name) => {
  const secret = sha256(`vector key ${name}`);
  const der = bytes(unhex("302e020100300506032b657004220420"), secret);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const raw = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
  const signs = (label, network, body) => nodeSign(null, preimage(label, network, body), key);
  return { secret, raw, signs, signsRaw: (message) => nodeSign(null, message, key) };
};

// secp256k1 keys from a name, signing through viem.
export const node = (name) => {
  const secret = sha256(`vector node ${name}`);
  const account = privateKeyToAccount(`0x${hex(secret)}`);
  const signs = async (digest) => {
    const signature = await sign({ hash: `0x${hex(digest)}`, privateKey: `0x${hex(secret)}` });
    return unhex(serializeCompactSignature(signatureToCompactSignature(signature)));
  };
  return { secret, address: unhex(account.address), signs };
};

const DOMAIN_TYPE = [
  { name: "name", type: "string" },
  { name: "version", type: "string" },
  { name: "salt", type: "bytes32" },
];
const domainOf = (network) => ({ name: "Tidings", version: "1", salt: `0x${hex(network)}` });
export const domainSeparator = (network) =>
  unhex(hashDomain({ domain: domainOf(network), types: { EIP712Domain: DOMAIN_TYPE } }));
export const typedData = (network, primaryType, fields, message) => ({
  types: {
    EIP712Domain: DOMAIN_TYPE,
    [primaryType]: fields.map(([type, name]) => ({ name, type })),
  },
  primaryType,
  domain: domainOf(network),
  message,
});
export const typedDigest = (data) => unhex(hashTypedData(data));

export const genesis = (chainId, registry, salt) => bytes(u64(chainId), registry, salt);
export const networkOf = (encoded) => labelled("network", encoded);
export const SALT = sha256("vectors");
export const NETWORK = networkOf(genesis(0, Buffer.alloc(20), SALT));

// RFC 6962 trees.
export const leafHash = (leaf) => sha256(bytes([0], leaf));
const split = (count) => {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
};
export const rootOf = (leaves) => {
  if (leaves.length === 0) return sha256("");
  if (leaves.length === 1) return leaves[0];
  const middle = split(leaves.length);
  return sha256(bytes([1], rootOf(leaves.slice(0, middle)), rootOf(leaves.slice(middle))));
};
export const pathOf = (leaves, index) => {
  if (leaves.length < 2) return [];
  const middle = split(leaves.length);
  const [left, right] = [leaves.slice(0, middle), leaves.slice(middle)];
  if (index < middle) return [...pathOf(left, index), rootOf(right)];
  return [...pathOf(right, index - middle), rootOf(left)];
};

export const write = (suite, name, description, cases, extra = {}) => {
  const folder = new URL(`../../../spec/vectors/${suite}/`, import.meta.url);
  mkdirSync(folder, { recursive: true });
  const file = { suite, version: 1, description, ...extra, cases };
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(file, null, 1)}\n`);
};
