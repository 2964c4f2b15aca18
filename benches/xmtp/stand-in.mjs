// An in-memory server with just enough of the edge's methods for the official client: the client's own floor.
// It checks no signature and keeps nothing.
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';

import { Envelope, Service, Status, grpc } from '../../examples/xmtp-node/src/wire.mjs';
import { Refusal, Store, hex, isAfter } from './store.mjs';

const MESSAGE_BYTES_MAX = 25 * 1024 * 1024;
const KEEP_ALIVE_MS = 10_000;
const StreamStatus = { Started: 1, CaughtUp: 2, Waiting: 3 };

// Starts as many edges as asked over one store; port 0 takes any free one.
// They list themselves, unless other addresses that lead to them are given.
export async function standIn({ edges = 1, port = 0, listed, log = () => {} } = {}) {
  const store = new Store();
  const nodes = {};
  const servers = [];
  for (let i = 0; i < edges; i++) {
    const server = new grpc.Server({
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': -1,
    });
    server.addService(Service.Payer, logged(payer(store, listed ?? nodes), log));
    server.addService(Service.Replication, logged(replication(store), log));
    server.addService(Service.Health, logged({ Check: unary(() => ({ status: 1 })) }, log));
    const bound = await new Promise((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port && port + i}`, grpc.ServerCredentials.createInsecure(), (error, at) =>
        error ? reject(error) : resolve(at),
      ),
    );
    nodes[100 + i] = `http://127.0.0.1:${bound}`;
    servers.push(server);
  }
  return { edges: Object.values(nodes), store, stop: () => servers.forEach((server) => server.forceShutdown()) };
}

function payer(store, nodes) {
  return {
    GetNodes: unary(() => ({ nodes })),
    PublishClientEnvelopes: unary(({ envelopes }) => ({
      originatorEnvelopes: store.publish(envelopes.map((bytes) => Envelope.Client.decode(bytes))),
    })),
  };
}

function replication(store) {
  return {
    GetInboxIds: unary(({ requests }) => ({
      responses: requests.map(({ identifier, identifierKind }) => ({
        identifier,
        identifierKind,
        inboxId: store.inboxId(identifier),
      })),
    })),
    QueryEnvelopes: unary(({ query, limit }) => ({
      envelopes: store.query(query?.topics ?? [], query?.lastSeen, limit),
    })),
    GetNewestEnvelope: unary(({ topics }) => ({
      results: topics.map((topic) => ({ originatorEnvelope: store.newest(topic) })),
    })),
    SubscribeEnvelopes: (call) => {
      const filters = call.request.query.topics.map((topic) => ({ topic, lastSeen: call.request.query.lastSeen }));
      follow(store, filters, call, (envelopes) => call.write({ envelopes }));
    },
    SubscribeTopics: (call) => {
      const say = (status) => call.write({ statusUpdate: { status } });
      say(StreamStatus.Started);
      follow(store, call.request.filters, call, (envelopes) => call.write({ envelopes: { envelopes } }));
      say(StreamStatus.CaughtUp);
      const waiting = setInterval(() => say(StreamStatus.Waiting), KEEP_ALIVE_MS);
      call.on('cancelled', () => clearInterval(waiting));
    },
  };
}

// What is stored first, then what comes, until the client goes.
function follow(store, filters, call, write) {
  const cursors = new Map(filters.map(({ topic, lastSeen }) => [hex(topic), lastSeen]));
  const stored = filters.flatMap(({ topic, lastSeen }) => store.after(topic, lastSeen));
  stored.sort((a, b) => a.arrival - b.arrival);
  if (stored.length) write(stored.map(({ envelope }) => envelope));
  const stop = store.listen((topic, arrived) => {
    if (cursors.has(topic) && isAfter(arrived, cursors.get(topic))) write([arrived.envelope]);
  });
  call.on('cancelled', stop);
}

function unary(answer) {
  return (call, callback) => {
    try {
      callback(null, answer(call.request));
    } catch (error) {
      const code = error instanceof Refusal ? Status.INVALID_ARGUMENT : Status.INTERNAL;
      callback({ code, details: error.message });
    }
  };
}

function logged(methods, log) {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      (call, callback) => {
        log(name, call.request, call);
        method(call, callback);
      },
    ]),
  );
}

// One line a call: what it asks, in short.
function describe(name, request) {
  const cursor = (seen) => JSON.stringify(seen?.nodeIdToSequenceId ?? {});
  const short = (topic) => hex(topic).slice(0, 10);
  const details = {
    PublishClientEnvelopes: () =>
      request.envelopes
        .map((bytes) => Envelope.Client.decode(bytes))
        .map((e) => `${e.payload} ${Envelope.Client.encode(e).finish().length} B after ${cursor(e.aad?.dependsOn)}`)
        .join(', '),
    QueryEnvelopes: () => `${request.query.topics.map(short)} after ${cursor(request.query.lastSeen)} limit ${request.limit}`,
    GetNewestEnvelope: () => `${request.topics.map(short)}`,
    GetInboxIds: () => request.requests.map((r) => `${r.identifierKind} ${r.identifier}`).join(', '),
    SubscribeTopics: () => request.filters.map((f) => `${short(f.topic)} after ${cursor(f.lastSeen)}`).join(', '),
  };
  return `${name} ${details[name]?.() ?? ''}`;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '7400' },
      edges: { type: 'string', default: '1' },
      log: { type: 'boolean', default: false },
    },
  });
  const log = values.log ? (name, request) => console.error(describe(name, request)) : undefined;
  const { edges } = await standIn({ edges: Number(values.edges), port: Number(values.port), log });
  console.log(`edges ${edges.join(',')}`);
}
