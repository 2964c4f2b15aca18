// One installation of the official client: a wallet, an edge, a database of its own.
import { Client, createBackend } from '@xmtp/node-sdk';

import { until, within } from './deadline.mjs';

export class Installation {
  #options;

  static async open(name, wallet, edge, options) {
    const installation = new Installation();
    installation.name = name;
    installation.wallet = wallet;
    installation.#options = options;
    await installation.#connect(edge);
    return installation;
  }

  async #connect(edge) {
    this.edge = edge;
    const backend = await within(
      `${this.name} connects to ${edge}`,
      createBackend({ env: 'local', gatewayHost: edge }),
    );
    this.client = await within(
      `${this.name} registers at ${edge}`,
      Client.create(this.wallet.signer, { disableDeviceSync: true, ...this.#options, backend }),
    );
  }

  // The client keeps its edge for life, so another edge takes another client over the same database.
  async moveTo(edge) {
    await this.close();
    await this.#connect(edge);
  }

  get inboxId() {
    return this.client.inboxId;
  }

  get conversations() {
    return this.client.conversations;
  }

  // The conversation, as soon as a sync has brought it.
  async find(id) {
    return until(`${this.name} joins ${id}`, async () => {
      await this.conversations.sync();
      return this.here(id);
    });
  }

  // The conversation, if it is in the database already.
  async here(id) {
    return this.conversations.getConversationById(id).catch(() => undefined);
  }

  // What the conversation holds, as soon as `enough` says so of its messages.
  async reads(what, id, enough) {
    const conversation = await this.find(id);
    return until(`${this.name} reads ${what}`, async () => {
      await conversation.sync();
      const messages = await conversation.messages();
      return enough(messages) && messages;
    });
  }

  async readsText(id, text) {
    const messages = await this.reads(`"${text}"`, id, (all) => all.some(({ content }) => content === text));
    return messages.find(({ content }) => content === text);
  }

  async close() {
    await within(`${this.name} closes`, this.client.close()).catch(() => {});
  }
}
