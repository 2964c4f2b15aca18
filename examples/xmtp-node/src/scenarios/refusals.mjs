// What the official client never sends is refused with a fitting code, and what is unknown is empty.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { within } from '../deadline.mjs';
import { Status, Wire, encodeClient } from '../wire.mjs';

// Above the largest message that the official client takes.
const OVERSIZE_BYTES = 26 * 1024 * 1024;

const NAMES = Object.fromEntries(Object.entries(Status).map(([name, code]) => [code, name]));

export async function run(network) {
  for (const edge of network.edges) {
    const wire = new Wire(edge);
    try {
      await serving(wire);
      await refused(wire);
      await unknown(wire);
    } finally {
      wire.close();
    }
  }
}

async function serving(wire) {
  const { status } = await wire.call('Health', 'Check', { service: '' });
  assert.equal(status, 1, 'an edge does not serve');
  const { nodes } = await wire.call('Payer', 'GetNodes', {});
  assert.ok(Object.keys(nodes).length > 0, 'an edge lists no nodes');
}

async function refused(wire) {
  const group = randomBytes(16);
  const cases = {
    'an envelope of nothing': [{}],
    'an envelope with a topic alone': [{ aad: { targetTopic: topic(0, group) } }],
    'garbage for a group': [groupMessage(topic(0, group), randomBytes(200))],
    'a message to another group': [groupMessage(topic(0, randomBytes(16)), applicationMessage(group))],
    'a message to a topic of another kind': [groupMessage(topic(1, randomBytes(32)), applicationMessage(group))],
    'a message to no topic': [groupMessage(Buffer.alloc(0), applicationMessage(group))],
    'a welcome to another installation': [welcome(topic(1, randomBytes(32)), randomBytes(32))],
    'a welcome to half a key': [welcome(topic(1, group), group)],
    'garbage for a key package': [keyPackage(topic(3, randomBytes(32)), randomBytes(500))],
    'an inbox that is not of its address': [identityUpdate(randomBytes(32).toString('hex'))],
    'an inbox id that is no id': [identityUpdate('inbox')],
  };
  for (const [what, envelopes] of Object.entries(cases)) {
    await refuses(wire, what, { envelopes: envelopes.map(encodeClient) }, [Status.INVALID_ARGUMENT]);
  }
  // A message's transport refuses these before the service sees them.
  await refuses(wire, 'bytes that decode to nothing', randomBytes(300).fill(0xff, 0, 20), [
    Status.INVALID_ARGUMENT,
    Status.INTERNAL,
  ]);
  const oversize = groupMessage(topic(0, group), Buffer.concat([applicationMessage(group), Buffer.alloc(OVERSIZE_BYTES)]));
  await refuses(wire, 'an oversized message', { envelopes: [encodeClient(oversize)] }, [
    Status.RESOURCE_EXHAUSTED,
    Status.INVALID_ARGUMENT,
    Status.OUT_OF_RANGE,
  ]);
  // One bad envelope refuses the whole request, so that a client never has to guess which was kept.
  const good = groupMessage(topic(0, group), applicationMessage(group));
  const both = { envelopes: [encodeClient(good), encodeClient({})] };
  await refuses(wire, 'a good envelope beside a bad one', both, [Status.INVALID_ARGUMENT]);
  const { envelopes } = await query(wire, topic(0, group));
  assert.equal(envelopes.length, 0, 'something that was refused is stored');
}

async function unknown(wire) {
  const { envelopes } = await query(wire, topic(0, randomBytes(16)));
  assert.equal(envelopes.length, 0, 'an unknown topic has envelopes');
  const { results } = await wire.call('Replication', 'GetNewestEnvelope', {
    topics: [topic(3, randomBytes(32)), topic(0, randomBytes(16))],
  });
  assert.deepEqual(
    results.map(({ originatorEnvelope }) => originatorEnvelope ?? null),
    [null, null],
    'unknown topics have a newest envelope',
  );
  const { responses } = await wire.call('Replication', 'GetInboxIds', {
    requests: [{ identifier: `0x${randomBytes(20).toString('hex')}`, identifierKind: 'IDENTIFIER_KIND_ETHEREUM' }],
  });
  assert.equal(responses.length, 1, 'a request for an inbox id has no response');
  assert.ok(!responses[0].inboxId, 'an unknown address has an inbox');

  const stream = wire.stream('Replication', 'SubscribeTopics', { filters: [{ topic: topic(0, randomBytes(16)) }] });
  const statuses = [];
  await within(
    'a stream over an unknown topic catches up',
    new Promise((resolve, reject) => {
      stream.on('error', reject);
      stream.on('data', ({ statusUpdate }) => {
        statuses.push(statusUpdate?.status);
        if (statusUpdate?.status === 2) resolve();
      });
    }),
  );
  stream.on('error', () => {});
  stream.cancel();
  assert.deepEqual(statuses, [1, 2], 'a stream over an unknown topic begins otherwise');
}

function query(wire, of) {
  return wire.call('Replication', 'QueryEnvelopes', { query: { topics: [of] }, limit: 100 });
}

async function refuses(wire, what, request, codes) {
  let answer;
  try {
    await wire.call('Payer', 'PublishClientEnvelopes', request);
    answer = Status.OK;
  } catch ({ code }) {
    answer = code;
  }
  assert.ok(codes.includes(answer), `${what} is answered with ${NAMES[answer]} and not ${codes.map((code) => NAMES[code]).join(' or ')}`);
}

function topic(kind, id) {
  return Buffer.concat([Buffer.from([kind]), id]);
}

function groupMessage(targetTopic, data) {
  return { aad: { targetTopic }, groupMessage: { v1: { data } } };
}

function welcome(targetTopic, installationKey) {
  return { aad: { targetTopic }, welcomeMessage: { v1: { installationKey, data: randomBytes(100), hpkePublicKey: randomBytes(32) } } };
}

function keyPackage(targetTopic, bytes) {
  return { aad: { targetTopic }, uploadKeyPackage: { keyPackage: { keyPackageTlsSerialized: bytes }, isInboxIdCredential: true } };
}

function identityUpdate(inboxId) {
  const create = {
    initialIdentifier: `0x${randomBytes(20).toString('hex')}`,
    nonce: 1,
    initialIdentifierSignature: { erc_191: { bytes: randomBytes(65) } },
    initialIdentifierKind: 'IDENTIFIER_KIND_ETHEREUM',
  };
  return {
    aad: { targetTopic: topic(2, Buffer.from(inboxId, 'hex')) },
    identityUpdate: { actions: [{ createInbox: create }], clientTimestampNs: Date.now() * 1e6, inboxId },
  };
}

// A private message of application content (RFC 9420 §6.3) that no member could open.
function applicationMessage(group) {
  const vector = (bytes) => Buffer.concat([Buffer.from([bytes.length]), bytes]);
  return Buffer.concat([
    Buffer.from([0, 1, 0, 2]),
    vector(group),
    Buffer.alloc(8),
    Buffer.from([1]),
    vector(Buffer.alloc(0)),
    vector(randomBytes(28)),
    vector(randomBytes(60)),
  ]);
}
