// Envelopes in memory by topic, and the inboxes that identity updates make of them.
import { createHash } from 'node:crypto';

import { Envelope, Long } from '../../examples/xmtp-node/src/wire.mjs';
import { keyPackageInstallation, readMessage } from './framing.mjs';

const ORDERED = 0;
const IDENTITY = 1;
const BROADCAST = 100;

const PAGE_MAX = 2_000;

// A joiner waits for a commit of its own behind messages that it cannot read.
// The client keeps the secrets of three past epochs, so two commits ahead of their time do no harm.
const EARLY_COMMITS = 2;

const Topic = { Group: 0, Welcome: 1, Identity: 2, KeyPackage: 3 };

export class Refusal extends Error {}

export class Store {
  #topics = new Map();
  #next = new Map();
  #inboxes = new Map();
  #listeners = new Set();
  #arrivals = 0;
  #clock_ns = 0n;

  // All or none.
  publish(clients) {
    const placed = clients.map((client) => ({ client, ...place(client) }));
    return placed.map((each) => this.#store(each));
  }

  #store({ client, topic, originator }) {
    if (client.payload === 'identityUpdate') {
      const known = this.#repeated(client, topic);
      if (known) return known;
    }
    const sequence = (this.#next.get(originator) ?? 0) + 1;
    this.#next.set(originator, sequence);
    if (client.payload === 'identityUpdate') this.#learn(client.identityUpdate);
    const bytes = Envelope.Client.encode(client).finish();
    const payer = Envelope.Payer.encode({ unsignedClientEnvelope: bytes }).finish();
    const unsigned = Envelope.Unsigned.encode({
      originatorNodeId: originator,
      originatorSequenceId: sequence,
      originatorNs: Long.fromString(String(this.#now_ns())),
      payerEnvelopeBytes: payer,
    }).finish();
    const stored = { originator, sequence, arrival: this.#arrivals++, envelope: { unsignedOriginatorEnvelope: unsigned } };
    if (originator === IDENTITY) stored.bytes = hex(bytes);
    const key = hex(topic);
    if (!this.#topics.has(key)) this.#topics.set(key, []);
    this.#topics.get(key).push(stored);
    for (const listener of this.#listeners) listener(key, stored);
    return stored.envelope;
  }

  // In order of arrival, so that what an envelope depends on comes before it; but the next commits first where a page cuts.
  // Longer than the client asks for: it takes one page a sync, and a joiner's first message fails behind three.
  query(topics, lastSeen, limit) {
    const found = topics.flatMap((topic) => this.after(topic, lastSeen)).sort((a, b) => a.arrival - b.arrival);
    const page = limit && found.length > PAGE_MAX ? early(found).slice(0, PAGE_MAX) : found;
    return page.map(({ envelope }) => envelope);
  }

  after(topic, cursor) {
    return (this.#topics.get(hex(topic)) ?? []).filter((stored) => isAfter(stored, cursor));
  }

  newest(topic) {
    return this.#topics.get(hex(topic))?.at(-1)?.envelope;
  }

  inboxId(identifier) {
    return this.#inboxes.get(identifier.toLowerCase());
  }

  // Calls back with (topic in hex, stored) until the returned function is called.
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // The client sends again what it got no answer to, and an inbox with two beginnings is lost.
  #repeated(client, topic) {
    const log = this.#topics.get(hex(topic)) ?? [];
    const bytes = hex(Envelope.Client.encode(client).finish());
    const known = log.find((stored) => stored.bytes === bytes);
    if (!known && log.length && client.identityUpdate.actions.some(({ createInbox }) => createInbox)) {
      throw new Refusal('the inbox exists');
    }
    return known?.envelope;
  }

  // Rising, as the client lists messages by it.
  #now_ns() {
    const now_ns = BigInt(Date.now()) * 1_000_000n;
    this.#clock_ns = now_ns > this.#clock_ns ? now_ns : this.#clock_ns + 1n;
    return this.#clock_ns;
  }

  #learn({ actions, inboxId }) {
    for (const { createInbox, add, revoke } of actions) {
      if (createInbox) this.#inboxes.set(createInbox.initialIdentifier.toLowerCase(), inboxId);
      const added = address(add?.newMemberIdentifier);
      if (added) this.#inboxes.set(added, inboxId);
      const revoked = address(revoke?.memberToRevoke);
      if (revoked && this.#inboxes.get(revoked) === inboxId) this.#inboxes.delete(revoked);
    }
  }
}

function early(found) {
  const commits = found.filter(({ originator }) => originator === ORDERED).slice(0, EARLY_COMMITS);
  return [...commits, ...found.filter((stored) => !commits.includes(stored))];
}

export function isAfter({ originator, sequence }, cursor) {
  return sequence > Number(cursor?.nodeIdToSequenceId?.[originator] ?? 0);
}

export function hex(bytes) {
  return Buffer.from(bytes).toString('hex');
}

function address(member) {
  if (member?.passkey) return hex(member.passkey.key);
  return member?.ethereumAddress?.toLowerCase();
}

// The topic that the payload itself names, which must be the one that the sender does.
function place(client) {
  const { topic, originator } = placeOf(client);
  const target = client.aad?.targetTopic ?? Buffer.alloc(0);
  if (hex(target) !== hex(topic)) throw new Refusal('the topic is not the one of the payload');
  return { topic, originator };
}

function placeOf(client) {
  try {
    switch (client.payload) {
      case 'groupMessage': {
        const { group, ordered } = readMessage(client.groupMessage.v1.data);
        return { topic: topicOf(Topic.Group, group, 16), originator: ordered ? ORDERED : BROADCAST };
      }
      case 'welcomeMessage': {
        const { installationKey } = client.welcomeMessage.v1 ?? client.welcomeMessage.welcomePointer;
        return { topic: topicOf(Topic.Welcome, installationKey, 32), originator: BROADCAST };
      }
      case 'uploadKeyPackage': {
        const key = keyPackageInstallation(client.uploadKeyPackage.keyPackage.keyPackageTlsSerialized);
        return { topic: topicOf(Topic.KeyPackage, key, 32), originator: BROADCAST };
      }
      case 'identityUpdate': {
        const inbox = Buffer.from(client.identityUpdate.inboxId, 'hex');
        if (!isOwn(client.identityUpdate)) throw new Error('the inbox id is not of its address');
        return { topic: topicOf(Topic.Identity, inbox, 32), originator: IDENTITY };
      }
      default:
        throw new Error('the envelope has no payload');
    }
  } catch (error) {
    throw new Refusal(error.message);
  }
}

function isOwn({ actions, inboxId }) {
  return actions.every(({ createInbox }) => {
    if (!createInbox) return true;
    const { initialIdentifier, nonce } = createInbox;
    return createHash('sha256').update(`${initialIdentifier.toLowerCase()}${nonce}`).digest('hex') === inboxId;
  });
}

function topicOf(kind, id, length) {
  if (id.length !== length) throw new Error(`the id of the topic is ${id.length} bytes long and not ${length}`);
  return Buffer.concat([Buffer.from([kind]), id]);
}
