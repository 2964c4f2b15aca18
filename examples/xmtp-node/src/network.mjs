// The edges under test, and everyone who has come to them in this run.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { across } from './deadline.mjs';
import { Installation } from './installation.mjs';
import { Wallet } from './wallet.mjs';
import { serves } from './wire.mjs';

// Registering keeps a core busy; more at once only makes each slower.
const OPEN_AT_ONCE = 4;

export class Network {
  #directory = mkdtempSync(join(tmpdir(), 'tidings-xmtp-'));
  #crowd = [];
  #opened = 0;
  #installations = [];

  constructor(edges, seed = randomBytes(4).readUInt32BE()) {
    this.edges = edges;
    this.seed = seed;
  }

  wallet(name) {
    return new Wallet(this.seed, name);
  }

  // Opens an installation; those of one run go round the edges.
  async open(name, { wallet = this.wallet(name), edge, ...options } = {}) {
    const index = this.#opened++;
    const installation = await Installation.open(name, wallet, edge ?? this.edges[index % this.edges.length], {
      dbPath: join(this.#directory, `${index}.db3`),
      ...options,
    });
    this.#installations.push(installation);
    return installation;
  }

  // The first `count` of a crowd that scenarios share.
  async crowd(count) {
    const missing = Array.from({ length: Math.max(0, count - this.#crowd.length) }, (_, i) => this.#crowd.length + i);
    this.#crowd.push(...(await across(missing, OPEN_AT_ONCE, (i) => this.open(`crowd-${i}`))));
    return this.#crowd.slice(0, count);
  }

  async liveEdges() {
    const alive = await Promise.all(this.edges.map((edge) => serves(edge)));
    return this.edges.filter((_, i) => alive[i]);
  }

  async close() {
    await Promise.all(this.#installations.map((installation) => installation.close()));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
