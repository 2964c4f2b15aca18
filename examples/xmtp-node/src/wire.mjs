// The edge's gRPC surface, spoken directly: for what the official client would never send, and for the stand-in.
import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

const PROTO = fileURLToPath(new URL('../../../crates/xmtp/proto/', import.meta.url));

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => PROTO + target;
root.loadSync(['payer.proto', 'replication.proto', 'health.proto']);
root.resolveAll();

export { grpc };

// 64-bit numbers, which a double cannot hold.
export const { Long } = protobuf.util;

export const { status: Status } = grpc;

export const Envelope = {
  Client: root.lookupType('xmtp.xmtpv4.envelopes.ClientEnvelope'),
  Payer: root.lookupType('xmtp.xmtpv4.envelopes.PayerEnvelope'),
  Unsigned: root.lookupType('xmtp.xmtpv4.envelopes.UnsignedOriginatorEnvelope'),
  Originator: root.lookupType('xmtp.xmtpv4.envelopes.OriginatorEnvelope'),
};

// The bytes of a client's envelope, as requests hold them.
export function encodeClient(envelope) {
  return Buffer.from(Envelope.Client.encode(Envelope.Client.fromObject(envelope)).finish());
}

// A service in the form that both ends of grpc-js take.
function definition(name) {
  const service = root.lookupService(name);
  return Object.fromEntries(
    service.methodsArray.map((method) => {
      const request = method.resolvedRequestType;
      const response = method.resolvedResponseType;
      return [
        method.name,
        {
          path: `/${name}/${method.name}`,
          requestStream: false,
          responseStream: Boolean(method.responseStream),
          requestSerialize: (value) =>
            Buffer.isBuffer(value) ? value : Buffer.from(request.encode(request.fromObject(value)).finish()),
          requestDeserialize: (bytes) => request.decode(bytes),
          responseSerialize: (value) => Buffer.from(response.encode(response.fromObject(value)).finish()),
          responseDeserialize: (bytes) => response.decode(bytes),
        },
      ];
    }),
  );
}

export const Service = {
  Payer: definition('xmtp.xmtpv4.payer_api.PayerApi'),
  Replication: definition('xmtp.xmtpv4.message_api.ReplicationApi'),
  Health: definition('grpc.health.v1.Health'),
};

// One connection to an edge; a call's request is an object, or a Buffer that goes out as it is.
export class Wire {
  #client;

  constructor(edge) {
    this.#client = new grpc.Client(new URL(edge).host, grpc.credentials.createInsecure(), {
      'grpc.max_send_message_length': -1,
      'grpc.max_receive_message_length': -1,
    });
  }

  call(service, method, request, { deadline_ms = 60_000 } = {}) {
    const { path, requestSerialize, responseDeserialize } = Service[service][method];
    const options = { deadline: Date.now() + deadline_ms };
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  }

  stream(service, method, request) {
    const { path, requestSerialize, responseDeserialize } = Service[service][method];
    return this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  }

  close() {
    this.#client.close();
  }
}

// Whether an edge says that it serves.
export async function serves(edge, deadline_ms = 2_000) {
  const wire = new Wire(edge);
  try {
    const { status } = await wire.call('Health', 'Check', { service: '' }, { deadline_ms });
    return status === 1;
  } catch {
    return false;
  } finally {
    wire.close();
  }
}
