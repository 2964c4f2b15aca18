// spec/vectors/encoding: labels, networks, and the verdicts on signatures.
import { ED25519_TORSION_SUBGROUP, ed25519 } from "@noble/curves/ed25519";
import { createHash } from "node:crypto";
import {
  NETWORK, SALT, bytes, device, domainSeparator, genesis, hex, labelled, networkOf, node, number,
  preimage, sha256, unhex, write,
} from "./wire.mjs";

const labels = () => {
  const writer = device("writer");
  const one = (comment, label, body) => ({
    comment,
    label,
    network: hex(NETWORK),
    body: hex(body),
    hash: hex(labelled(label, body)),
    preimage: hex(preimage(label, NETWORK, body)),
    secret: hex(writer.secret),
    public_key: hex(writer.raw),
    signature: hex(writer.signs(label, NETWORK, body)),
  });
  return [
    one("an empty body", "topic write", []),
    one("an envelope's label", "topic write", bytes("body")),
    one("the same body under another label", "payer batch", bytes("body")),
    one("the border of label and body is marked", "payer", bytes(" batchbody")),
    one("a long body", "identity update", Buffer.alloc(300, 7)),
  ];
};

const networks = () => {
  const one = (comment, chainId, registry, salt) => {
    const network = networkOf(genesis(chainId, registry, salt));
    return {
      comment,
      chain_id: chainId,
      registry: `0x${hex(registry)}`,
      salt: hex(salt),
      network: hex(network),
      domain_separator: hex(domainSeparator(network)),
    };
  };
  const contract = Buffer.alloc(20, 0xc0);
  return [
    one("a registry in a file", 0, Buffer.alloc(20), SALT),
    one("another salt", 0, Buffer.alloc(20), sha256("other")),
    one("a registry on a chain", 8453, contract, SALT),
    one("the same contract on another chain", 1, contract, SALT),
  ];
};

const ORDER = ed25519.CURVE.n;
const Point = ed25519.ExtendedPoint;
const P = 2n ** 255n - 19n;
const little = (data) => BigInt(`0x${hex(Buffer.from(data).reverse())}`);
const littleBytes = (value) => Buffer.from(number(value, 32)).reverse();
const torsion = ED25519_TORSION_SUBGROUP.map((text) => Point.fromHex(text));
const raw = (point) => Buffer.from(point.toRawBytes());
const challenge = (nonce, key, message) =>
  little(createHash("sha512").update(bytes(nonce, key, message)).digest()) % ORDER;
const isCanonical = (encoding) => {
  try {
    return raw(Point.fromHex(hex(encoding), true)).equals(Buffer.from(encoding));
  } catch {
    return false;
  }
};
const isSmall = (encoding) => {
  try {
    return Point.fromHex(hex(encoding), true).isSmallOrder();
  } catch {
    return false;
  }
};
// ZIP-215 by noble-curves, and the three conditions that ENC-006 adds to it.
const verdict = (key, message, signature) => {
  if (!isCanonical(key) || isSmall(key) || !isCanonical(signature.subarray(0, 32))) return false;
  try {
    return ed25519.verify(signature, message, key, { zip215: true });
  } catch {
    return false;
  }
};
const MESSAGE = preimage("test", NETWORK, bytes("verdict"));
const judged = (comment, key, signature, expected, message = MESSAGE) => {
  const valid = verdict(key, message, signature);
  if (valid !== expected) throw new Error(`${comment}: ${valid}`);
  return { comment, public_key: hex(key), message: hex(message), signature: hex(signature), valid };
};
// A signature with chosen points: s makes the equation hold up to torsion.
const forged = (secret, keyShift, nonce, nonceEncoding) => {
  const key = raw(Point.BASE.multiply(secret).add(keyShift));
  const k = challenge(nonceEncoding, key, MESSAGE);
  return [key, bytes(nonceEncoding, littleBytes((nonce + k * secret) % ORDER))];
};

const signatures = () => {
  const [SECRET, NONCE] = [77n, 99n];
  const writer = device("writer");
  const good = writer.signsRaw(MESSAGE);
  const flipped = (bit) => {
    const out = Buffer.from(good);
    out[bit >> 3] ^= 1 << (bit & 7);
    return out;
  };
  const withS = (s) => bytes(good.subarray(0, 32), littleBytes(s));
  const cases = [
    judged("a signature", writer.raw, good, true),
    judged("another message", writer.raw, good, false, preimage("test", NETWORK, bytes("other"))),
    judged("another key", device("other").raw, good, false),
    judged("a bit of R is flipped", writer.raw, flipped(0), false),
    judged("a bit of s is flipped", writer.raw, flipped(256), false),
    judged("s plus the group order", writer.raw, withS(little(good.subarray(32)) + ORDER), false),
    judged("s is the group order", writer.raw, withS(ORDER), false),
    judged("s is zero", writer.raw, withS(0n), false),
  ];
  const nonce = Point.BASE.multiply(NONCE);
  torsion.forEach((point, index) => {
    const pure = forged(SECRET, Point.ZERO, NONCE, raw(nonce.add(point)));
    cases.push(judged(`torsion point ${index} in R`, ...pure, true));
    const mixed = forged(SECRET, point, NONCE, raw(nonce.add(point)));
    cases.push(judged(`torsion point ${index} in A and R`, ...mixed, true));
    const small = bytes(raw(nonce), littleBytes(NONCE));
    cases.push(judged(`A is torsion point ${index}`, raw(point), small, false));
    const identity = forged(SECRET, Point.ZERO, 0n, raw(point));
    cases.push(judged(`R is torsion point ${index}`, ...identity, true));
  });
  const negativeZero = bytes(littleBytes(1n).subarray(0, 31), [0x80]);
  for (const [name, encoding] of [
    ["one, not reduced", littleBytes(P + 1n)],
    ["one, with a sign", negativeZero],
    ["minus one, with a sign", littleBytes(P - 1n + 2n ** 255n)],
    ["zero, not reduced", littleBytes(P)],
  ]) {
    const loose = forged(SECRET, Point.ZERO, 0n, encoding);
    cases.push(judged(`y of R is ${name}`, ...loose, false));
    const key = bytes(raw(nonce), littleBytes(NONCE));
    cases.push(judged(`y of A is ${name}`, encoding, key, false));
  }
  const nowhere = Array.from({ length: 32 }, (_, y) => littleBytes(BigInt(y))).find((y) => {
    try {
      Point.fromHex(hex(y), true);
      return false;
    } catch {
      return true;
    }
  });
  cases.push(judged("A is not on the curve", nowhere, good, false));
  return cases;
};

const recoveries = async () => {
  const signer = node("one");
  const digest = sha256("a digest");
  const good = await signer.signs(digest);
  const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const address = `0x${hex(signer.address)}`;
  const one = (comment, signature, recovered) => ({
    comment,
    digest: hex(digest),
    signature: hex(signature),
    signer: recovered,
  });
  const cases = [
    one("a signature", good, address),
    one("r is zero", bytes(Buffer.alloc(32), good.subarray(32)), null),
    one("s is zero", bytes(good.subarray(0, 32), Buffer.alloc(32)), null),
    one("r is the group order", bytes(number(N, 32), good.subarray(32)), null),
  ];
  // 255 bits hold s; what of the upper half fits into them is refused, the rest cannot be written.
  const half = number((N - 1n) / 2n + 1n, 32);
  cases.push(one("the least s of the upper half", bytes(good.subarray(0, 32), half), null));
  const largest = number(2n ** 255n - 1n, 32);
  cases.push(one("the largest s that can be written", bytes(good.subarray(0, 32), largest), null));
  for (let index = 0; index < 4; index += 1) {
    const other = node(`signer ${index}`);
    const text = sha256(`digest ${index}`);
    cases.push({
      comment: `signer ${index}`,
      digest: hex(text),
      signature: hex(await other.signs(text)),
      signer: `0x${hex(other.address)}`,
    });
  }
  return cases;
};

export const writeEncoding = async () => {
  write("encoding", "labels", "Hashes and signatures under labels.", labels());
  write("encoding", "networks", "Network ids and their EIP-712 domain separators.", networks());
  write("encoding", "ed25519", "The one verdict on Ed25519 signatures.", signatures());
  write("encoding", "secp256k1", "Whom a node's signature recovers to, null for nobody.", await recoveries());
};
