// As much of MLS framing (RFC 9420 §6) as a server reads: whose group a message is, and whether it may move an epoch.
const CONTENT_APPLICATION = 1;
const WIRE_PUBLIC = 1;
const WIRE_PRIVATE = 2;
const SENDER_TAIL = { 1: 4, 2: 4, 3: 0, 4: 0 };

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  uint(size) {
    let value = 0;
    for (const byte of this.take(size)) value = value * 256 + byte;
    return value;
  }

  take(size) {
    if (this.#at + size > this.#bytes.length) throw new Error('the message is cut short');
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  // A vector's length takes 1, 2 or 4 bytes, as its two top bits say.
  vector() {
    const first = this.uint(1);
    const more = [0, 1, 3][first >> 6];
    if (more === undefined) throw new Error('a vector has no such length');
    let length = first & 0x3f;
    for (let i = 0; i < more; i++) length = length * 256 + this.uint(1);
    return this.take(length);
  }
}

export function readMessage(bytes) {
  const reader = new Reader(bytes);
  if (reader.uint(2) !== 1) throw new Error('the message is not MLS 1.0');
  const wire = reader.uint(2);
  if (wire !== WIRE_PUBLIC && wire !== WIRE_PRIVATE) throw new Error('the message is for no group');
  const group = reader.vector();
  const epoch = reader.uint(8);
  if (wire === WIRE_PUBLIC) {
    const tail = SENDER_TAIL[reader.uint(1)];
    if (tail === undefined) throw new Error('the message has no such sender');
    reader.take(tail);
    reader.vector();
  }
  const content = reader.uint(1);
  if (content < 1 || content > 3) throw new Error('the message has no such content');
  return { group, epoch, ordered: content !== CONTENT_APPLICATION };
}

// The installation's key: the leaf's signature key, which follows its encryption key.
export function keyPackageInstallation(bytes) {
  const reader = new Reader(bytes);
  if (reader.uint(2) !== 1) throw new Error('the key package is not MLS 1.0');
  reader.uint(2);
  reader.vector();
  reader.vector();
  return reader.vector();
}
