// Writes spec/vectors/identity/*.json.
// It follows spec/07-identity.md and shares no code with the crate: accounts sign through viem,
// installations through node:crypto, and encodings and expected states are made here by hand.
import { createHash, createPrivateKey, createPublicKey, sign as ed25519 } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { privateKeyToAccount } from "viem/accounts";

const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const sha256 = (data) => createHash("sha256").update(data).digest();
const labelled = (label, data) => sha256(bytes("Tidings 1.0 ", label, [0], data));
const hex = (data) => Buffer.from(data).toString("hex");
const unhex = (text) => Buffer.from(text.replace(/^0x/, ""), "hex");
const number = (value, width) => {
  const out = Buffer.alloc(width);
  let rest = BigInt(value);
  for (let i = width - 1; i >= 0; i -= 1, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
};
// Variable-length vectors of RFC 9420 §2.1.2: the length is in bytes.
const vector = (data) => {
  if (data.length < 64) return bytes([data.length], data);
  if (data.length < 16384) return bytes(number(0x4000 | data.length, 2), data);
  return bytes(number(0x80000000 + data.length, 4), data);
};
const ZERO = Buffer.alloc(32);
const NETWORK = labelled("network", bytes(number(0, 8), Buffer.alloc(20), sha256("vectors")));
const OTHER_NETWORK = labelled("network", bytes(number(0, 8), Buffer.alloc(20), sha256("other")));

// Members.
const account = (name) => {
  const wallet = privateKeyToAccount(`0x${hex(sha256(`vector account ${name}`))}`);
  const address = unhex(wallet.address);
  return { text: `0x${hex(address)}`, wire: bytes([1], address), wallet };
};
const installation = (name) => {
  const seed = sha256(`vector installation ${name}`);
  const der = bytes(unhex("302e020100300506032b657004220420"), seed);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const raw = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
  return { text: `installation:${hex(raw)}`, wire: bytes([2], raw), key, raw };
};
const alice = account("alice");
const cold = account("cold");
const spare = account("spare");
const mallory = account("mallory");
const laptop = installation("laptop");
const phone = installation("phone");
const tablet = installation("tablet");
const contract = { text: `eip155:10:${alice.text}`, wire: bytes([3], number(10, 8), alice.wire.subarray(1)) };
const passkey = { text: `passkey:${"02".repeat(33)}`, wire: bytes([4], Buffer.alloc(33, 2)) };

// Actions.
const create = (initial, nonce, recovery) => ({
  line: `Create inbox ${nonce} of ${initial.text} with recovery ${recovery.text}`,
  wire: bytes([1], initial.wire, number(nonce, 8), recovery.wire),
});
const add = (member, by) => ({
  line: `Add ${member.text} on the authority of ${by.text}`,
  wire: bytes([2], member.wire, by.wire),
});
const revoke = (member) => ({
  line: `Revoke ${member.text} and all it added`,
  wire: bytes([3], member.wire),
});
const recoverBy = (member) => ({
  line: `Change recovery to ${member.text}`,
  wire: bytes([4], member.wire),
});
const inboxId = (initial, nonce) => labelled("inbox id", bytes(initial.wire, number(nonce, 8)));

// An update before it is signed.
const draft = ({ inbox, sequence, previous, actions, version = 1, network = NETWORK }) => {
  const encoded = vector(bytes(...actions.map((action) => action.wire)));
  const body = bytes(number(version, 2), inbox, number(sequence, 8), previous, encoded);
  const hash = labelled("identity update", body);
  const lines = actions.map((action) => action.line);
  const typedData = {
    types: {
      EIP712Domain: [
        { name: "name", type: "string" },
        { name: "version", type: "string" },
        { name: "salt", type: "bytes32" },
      ],
      InboxUpdate: [
        { name: "inbox", type: "bytes32" },
        { name: "sequence", type: "uint64" },
        { name: "previous", type: "bytes32" },
        { name: "summary", type: "string" },
        { name: "update", type: "bytes32" },
      ],
    },
    primaryType: "InboxUpdate",
    domain: { name: "Tidings", version: "1", salt: `0x${hex(network)}` },
    message: {
      inbox: `0x${hex(inbox)}`,
      sequence: String(sequence),
      previous: `0x${hex(previous)}`,
      summary: lines.join("; "),
      update: `0x${hex(hash)}`,
    },
  };
  const text = [
    "Tidings inbox update",
    "",
    ...lines,
    "",
    `Inbox: ${hex(inbox)}`,
    `Sequence: ${sequence}`,
    `Previous: ${hex(previous)}`,
    `Update: ${hex(hash)}`,
    `Network: ${hex(network)}`,
  ].join("\n");
  return { inbox, sequence, previous, actions, network, body, hash, typedData, text };
};

// Proofs.
const proof = (signer, kind, data) => ({ signer, wire: bytes(signer.wire, [kind], data) });
const typed = async (update, signer) =>
  proof(signer, 1, unhex(await signer.wallet.signTypedData(update.typedData)));
const text = async (update, signer) =>
  proof(signer, 2, unhex(await signer.wallet.signMessage({ message: update.text })));
const preimage = (update) => bytes("Tidings 1.0 identity update", [0], update.network, update.body);
const device = (update, signer) => proof(signer, 3, ed25519(null, preimage(update), signer.key));
const sign = (update, signer) => (signer.wallet ? typed(update, signer) : device(update, signer));
const signAll = (update, signers) => Promise.all(signers.map((signer) => sign(update, signer)));
const byWire = (one, next) => Buffer.compare(one.wire, next.wire);
const inOrder = (proofs) => [...proofs].sort((one, next) => byWire(one.signer, next.signer));
const asGiven = (update, proofs) =>
  bytes(update.body, vector(bytes(...proofs.map((one) => one.wire))));
const finish = (update, proofs) => asGiven(update, inOrder(proofs));

// Expected states; members are listed as [member, added by, added at].
const encodeState = (update, { recovery, members, revoked }) => {
  const sorted = [...members].sort((one, next) => byWire(one[0], next[0]));
  const rows = sorted.map(([member, by, at]) => bytes(member.wire, by.wire, number(at, 8)));
  const keys = bytes(...revoked.map((member) => member.raw));
  const head = bytes(number(1, 2), update.inbox, number(update.sequence, 8), update.hash);
  return bytes(head, recovery.wire, vector(bytes(...rows)), vector(keys));
};
const accepted = (comment, update, wire, state) => {
  const encoded = encodeState(update, state);
  return {
    comment,
    update: hex(wire),
    outcome: "accepted",
    hash: hex(update.hash),
    typed_data: update.typedData,
    text: update.text,
    state: hex(encoded),
    state_hash: hex(labelled("association state", encoded)),
    members: [...state.members].sort((one, next) => byWire(one[0], next[0])).map(([member]) => member.text),
  };
};
const refused = (comment, wire, outcome) => ({ comment, update: hex(wire), outcome });

// The inbox that most cases start from: alice, with cold as recovery.
const inbox = inboxId(alice, 0);
const opening = draft({ inbox, sequence: 0, previous: ZERO, actions: [create(alice, 0, cold)] });
const openingWire = finish(opening, [await typed(opening, alice)]);
const openingState = { recovery: cold, members: [[alice, alice, 0]], revoked: [] };
const opened = accepted("an account opens an inbox", opening, openingWire, openingState);
const after = (update, actions, extra = {}) =>
  draft({ inbox, sequence: update.sequence + 1, previous: update.hash, actions, ...extra });

const lifeOfAnInbox = async () => {
  const root = [alice, alice, 0];
  const one = after(opening, [add(laptop, alice), add(phone, laptop)]);
  const oneState = { recovery: cold, members: [root, [laptop, alice, 1], [phone, laptop, 1]], revoked: [] };
  const two = after(one, [add(spare, phone)]);
  const twoState = { ...oneState, members: [...oneState.members, [spare, phone, 2]] };
  const three = after(two, [revoke(laptop)]);
  const gone = [laptop, phone].sort(byWire);
  const threeState = { recovery: cold, members: [root], revoked: gone };
  const four = after(three, [add(spare, alice), add(tablet, spare), recoverBy(spare)]);
  const fourMembers = [root, [spare, alice, 4], [tablet, spare, 4]];
  const fourState = { recovery: spare, members: fourMembers, revoked: gone };
  const five = after(four, [revoke(alice)]);
  const fiveState = { recovery: spare, members: [], revoked: [...gone, tablet] };
  const six = after(five, [add(alice, spare), add(spare, spare)]);
  const sixMembers = [[alice, spare, 6], [spare, spare, 6]];
  const sixState = { recovery: spare, members: sixMembers, revoked: [...gone, tablet] };
  const all = async (one, signers) => finish(one, await signAll(one, signers));
  const twoWire = finish(two, [await text(two, spare), device(two, phone)]);
  const threeWire = finish(three, [await text(three, cold)]);
  const sixWire = finish(six, [await text(six, alice), await typed(six, spare)]);
  return [
    opened,
    accepted("two installations, one let in by the other", one, await all(one, [alice, laptop, phone]), oneState),
    accepted("an installation lets an account in, which signs text", two, twoWire, twoState),
    accepted("recovery revokes a branch of three", three, threeWire, threeState),
    accepted(
      "an account returns, adds an installation and gets recovery",
      four,
      await all(four, [alice, spare, tablet, cold]),
      fourState,
    ),
    accepted("recovery revokes the first member and with it all", five, await all(five, [spare]), fiveState),
    accepted("recovery lets members in where none is left", six, sixWire, sixState),
  ];
};

const agent = async () => {
  const id = inboxId(laptop, 7);
  const first = draft({ inbox: id, sequence: 0, previous: ZERO, actions: [create(laptop, 7, laptop)] });
  const state = { recovery: laptop, members: [[laptop, laptop, 0]], revoked: [] };
  const next = { inbox: id, sequence: 1, previous: first.hash };
  const locked = draft({ ...next, actions: [revoke(laptop)] });
  const handed = draft({ ...next, actions: [recoverBy(phone), revoke(laptop)] });
  const handedState = { recovery: phone, members: [], revoked: [laptop] };
  const lockedWire = finish(locked, [device(locked, laptop)]);
  const handedWire = finish(handed, await signAll(handed, [laptop, phone]));
  return [
    accepted("an installation opens an inbox", first, finish(first, [device(first, laptop)]), state),
    refused("recovery is left with a revoked installation", lockedWire, "identity_action_invalid"),
    accepted("recovery is handed over first", handed, handedWire, handedState),
  ];
};

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const ED_ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const little = (data) => BigInt(`0x${hex(Buffer.from(data).reverse())}`);
const altered = (one, change) => {
  const wire = Buffer.from(one.wire);
  change(wire);
  return { signer: one.signer, wire };
};

const signatures = async () => {
  const update = after(opening, [recoverBy(spare)]);
  const good = await typed(update, cold);
  const elsewhere = after(opening, [recoverBy(spare)], { network: OTHER_NETWORK });
  const highS = altered(good, (wire) => {
    const s = BigInt(`0x${hex(wire.subarray(-33, -1))}`);
    wire.set(number(ORDER - s, 32), wire.length - 33);
    wire[wire.length - 1] = 55 - wire[wire.length - 1];
  });
  const bareV = altered(good, (wire) => (wire[wire.length - 1] -= 27));
  const mislabelled = altered(await text(update, cold), (wire) => (wire[cold.wire.length] = 1));
  const hashOnly = await cold.wallet.signMessage({ message: { raw: `0x${hex(update.hash)}` } });
  const forged = { signer: cold, wire: bytes(cold.wire, (await typed(update, mallory)).wire.subarray(21)) };
  const joining = after(opening, [add(laptop, alice)]);
  const both = inOrder(await signAll(joining, [alice, laptop]));
  const addElsewhere = after(opening, [add(laptop, alice)], { network: OTHER_NETWORK });
  const twinS = altered(device(joining, laptop), (wire) => {
    const s = little(wire.subarray(-32)) + ED_ORDER;
    wire.set(number(s, 32).reverse(), wire.length - 32);
  });
  const asWallet = proof(laptop, 1, bytes((await typed(joining, alice)).wire.subarray(-65)));
  const needless = [...both, await typed(joining, mallory)];
  const invalid = "identity_signature_invalid";
  const bad = (comment, one, proofs) => refused(comment, finish(one, proofs), invalid);
  const swapped = asGiven(joining, [both[1], both[0]]);
  const doubled = asGiven(joining, [both[0], both[0], both[1]]);
  return [
    opened,
    bad("s in the upper half of the order", update, [highS]),
    bad("v is 0 or 1", update, [bareV]),
    bad("signature over the text labelled as typed data", update, [mislabelled]),
    bad("signature over the bare hash labelled as text", update, [proof(cold, 2, unhex(hashOnly))]),
    bad("another account's signature", update, [forged]),
    bad("typed data of another network", update, [await typed(elsewhere, cold)]),
    bad("text of another network", update, [await text(elsewhere, cold)]),
    bad("a member signs in place of recovery", update, [await typed(update, alice)]),
    bad("nobody signs", update, []),
    bad("the new member does not sign", joining, [both[0]]),
    bad("the one that adds does not sign", joining, [both[1]]),
    bad("installation's signature for another network", joining, [both[0], device(addElsewhere, laptop)]),
    bad("installation's signature with s not reduced", joining, [both[0], twinS]),
    bad("installation with an account's signature", joining, [both[0], asWallet]),
    bad("a third signs", joining, needless),
    refused("signers in descending order", swapped, invalid),
    refused("a signer is there twice", doubled, invalid),
    accepted("the update with its own signature", update, finish(update, [good]), {
      ...openingState,
      recovery: spare,
    }),
  ];
};

const sequence = async () => {
  const update = after(opening, [recoverBy(spare)]);
  const wire = finish(update, [await typed(update, cold)]);
  const again = finish(update, [await text(update, cold)]);
  const state = { ...openingState, recovery: spare };
  const next = { inbox, sequence: 2, previous: update.hash, actions: [recoverBy(cold)] };
  const wrong = async (comment, fields) => {
    const one = draft({ ...next, ...fields });
    return refused(comment, finish(one, [await typed(one, spare)]), "identity_sequence_wrong");
  };
  return [
    await wrong("an update before the inbox exists", { sequence: 1 }),
    opened,
    refused("the opening again", openingWire, "identity_sequence_wrong"),
    accepted("recovery changes", update, wire, state),
    refused("the same bytes again", wire, "identity_sequence_wrong"),
    refused("the same update with another signature", again, "identity_sequence_wrong"),
    refused("the opening later", openingWire, "identity_sequence_wrong"),
    await wrong("a sequence is left out", { sequence: 3 }),
    await wrong("the predecessor is an older update", { previous: opening.hash }),
    await wrong("another inbox", { inbox: inboxId(alice, 1) }),
  ];
};

const actions = async () => {
  const invalid = async (comment, one, signers) =>
    refused(comment, finish(one, await signAll(one, signers)), "identity_action_invalid");
  const first = (list, fields = {}) =>
    draft({ inbox, sequence: 0, previous: ZERO, actions: list, ...fields });
  const joined = after(opening, [add(laptop, alice)]);
  const joinedWire = finish(joined, await signAll(joined, [alice, laptop]));
  const joinedState = { ...openingState, members: [[alice, alice, 0], [laptop, alice, 1]] };
  const parted = after(joined, [revoke(laptop)]);
  const partedWire = finish(parted, [await typed(parted, cold)]);
  const partedState = { ...openingState, revoked: [laptop] };
  const last = (...list) => after(parted, list);
  const open = create(alice, 0, cold);
  return [
    await invalid("no actions", first([]), [alice]),
    await invalid("the first update opens nothing", first([add(phone, alice)]), [alice, phone]),
    await invalid("the id belongs to another nonce", first([create(alice, 1, cold)]), [alice]),
    await invalid("the id belongs to another account", first([open], { inbox: inboxId(spare, 0) }), [alice]),
    await invalid("the opening has a predecessor", first([open], { previous: opening.hash }), [alice]),
    await invalid("the inbox is opened twice", first([open, create(spare, 0, cold)]), [alice, spare]),
    opened,
    accepted("an installation joins", joined, joinedWire, joinedState),
    await invalid("a member joins again", after(joined, [add(laptop, alice)]), [alice, laptop]),
    accepted("the installation is revoked", parted, partedWire, partedState),
    await invalid("no actions later on", last(), [cold]),
    await invalid("the inbox is opened later on", last(open), [alice]),
    await invalid("the inbox is opened on the side", last(recoverBy(spare), create(spare, 0, cold)), [cold, spare]),
    await invalid("a revoked installation returns", last(add(laptop, alice)), [alice, laptop]),
    await invalid("a stranger adds", last(add(phone, mallory)), [mallory, phone]),
    await invalid("a revoked installation adds", last(add(tablet, laptop)), [laptop, tablet]),
    await invalid("somebody revoked is revoked", last(revoke(laptop)), [cold]),
    await invalid("recovery goes to a revoked installation", last(recoverBy(laptop)), [cold]),
  ];
};

const encoding = async () => {
  const update = after(opening, [recoverBy(spare)]);
  const wire = finish(update, [await typed(update, cold)]);
  const signed = async (one) => finish(one, [await typed(one, cold)]);
  const future = after(opening, [recoverBy(spare)], { version: 2 });
  const crowd = after(opening, Array.from({ length: 33 }, () => recoverBy(spare)));
  const huge = bytes(wire, Buffer.alloc(16385 - wire.length));
  const reserved = async (comment, action) =>
    refused(comment, await signed(after(opening, [action])), "unknown_version");
  const reservedProof = (comment, signer, kind) =>
    refused(comment, finish(update, [proof(signer, kind, vector(ZERO))]), "unknown_version");
  const malformed = (comment, data) => refused(comment, data, "malformed");
  const stranger = bytes(update.body.subarray(0, 76), [9], update.body.subarray(77));
  return [
    opened,
    refused("a later version", await signed(future), "unknown_version"),
    await reserved("a passkey gets recovery", recoverBy(passkey)),
    await reserved("a contract wallet gets recovery", recoverBy(contract)),
    await reserved("a passkey joins", add(passkey, alice)),
    await reserved("a contract wallet is revoked", revoke(contract)),
    reservedProof("a contract wallet signs", contract, 4),
    reservedProof("an account signs as a contract wallet does", cold, 4),
    reservedProof("a passkey signs", passkey, 5),
    malformed("nothing", []),
    malformed("half a version", [0]),
    malformed("the last byte is missing", wire.subarray(0, -1)),
    malformed("a byte too many", bytes(wire, [0])),
    malformed("an unknown kind of member", asGiven({ body: stranger }, [])),
    malformed("an unknown kind of proof", finish(update, [proof(cold, 9, vector(ZERO))])),
    malformed("33 actions", await signed(crowd)),
    refused("16,385 bytes", huge, "too_large"),
    accepted("the update as it should be", update, wire, { ...openingState, recovery: spare }),
  ];
};

const folder = new URL("../../../spec/vectors/identity/", import.meta.url);
mkdirSync(folder, { recursive: true });
const write = async (name, description, makeCases) => {
  const cases = await makeCases();
  const file = { suite: "identity", version: 1, description, network: hex(NETWORK), cases };
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(file, null, 1)}\n`);
};
await write("life", "An inbox from its creation through adding, revoking and recovery.", lifeOfAnInbox);
await write("agent", "An installation opens an inbox without a wallet and hands recovery over.", agent);
await write("signatures", "Signatures that are not the signers' own in canonical form.", signatures);
await write("sequence", "Replays, gaps and forks of a log.", sequence);
await write("actions", "Actions that break a rule of association.", actions);
await write("encoding", "Bytes that are no update of this version.", encoding);
