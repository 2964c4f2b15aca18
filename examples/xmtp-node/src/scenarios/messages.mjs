// Many messages from several clients over all edges, with a process killed half-way: none lost, none twice, one order.
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';

import { DeliveryStatus } from '@xmtp/node-sdk';

import { across, until, within } from '../deadline.mjs';
import { Watch } from '../watch.mjs';

const SENDERS = 6;
const MOVES_MAX = 5;

export async function run(network, { messages, killPid }) {
  const senders = await across(Array.from({ length: SENDERS }), 2, (_, i) => network.open(`sender-${i}`));
  const [first, ...others] = senders;
  const group = await first.conversations.createGroup(others.map(({ inboxId }) => inboxId));
  for (const sender of senders) await (await sender.find(group.id)).sendText(`${sender.name} is here`);
  const watches = await Promise.all(
    others.map((sender) => Watch.over(`${sender.name}'s stream`, (on) => sender.conversations.streamAllMessages(on))),
  );

  const load = new Load(network, group.id, messages, killPid);
  const start = Date.now();
  await Promise.all(senders.map((sender) => load.send(sender)));
  const rate = Math.round((messages * 1000) / (Date.now() - start));

  await Promise.all(senders.map((sender) => load.settle(sender)));
  await alike(senders, load);
  if (!killPid) {
    for (const watch of watches) {
      const given = await watch.count('texts', messages, ({ content }) => isNumbered(content));
      assert.equal(new Set(given.map(({ id }) => id)).size, messages, `${watch.what} gives a message twice`);
    }
  }
  if (killPid) await afterwards(network, senders, group.id);
  return `${messages} messages, ${rate}/s${load.moves ? `, ${load.moves} moves to another edge, ${load.again.size} sent again` : ''}`;
}

// Texts numbered from zero, handed to whoever is free.
class Load {
  moves = 0;
  again = new Set();
  #next = 0;

  constructor(network, group, messages, killPid) {
    this.network = network;
    this.group = group;
    this.messages = messages;
    this.killPid = killPid;
  }

  async send(sender) {
    while (this.#next < this.messages) {
      const number = this.#next++;
      if (this.killPid && number === Math.floor(this.messages / 2)) process.kill(this.killPid, 'SIGKILL');
      await this.#deliver(sender, `message ${number}`);
    }
  }

  async #deliver(sender, text) {
    try {
      const conversation = await sender.here(this.group);
      if (await send(sender, conversation, text)) return;
      if (!this.killPid) throw new Error(`${sender.name} could not publish "${text}"`);
    } catch (error) {
      if (!this.killPid) throw error;
    }
    await this.#rescue(sender, text);
  }

  // Until the sender has read as many as were sent, over whichever edge still answers it.
  async settle(sender) {
    await until(`${sender.name} reads ${this.messages} messages`, async () => {
      try {
        const conversation = await sender.here(this.group);
        await conversation.sync();
        return (await numbered(conversation)).length >= this.messages;
      } catch (error) {
        if (!this.killPid) throw error;
        await this.#move(sender);
        return false;
      }
    });
  }

  async #move(sender) {
    this.moves++;
    const live = await this.network.liveEdges();
    if (!live.length) throw new Error('no edge is left');
    await sender.moveTo(live[(live.indexOf(sender.edge) + 1) % live.length]);
  }

  // A client whose edge died goes to another, and sends again what has not come back to it from there.
  async #rescue(sender, text) {
    let last;
    for (let moves = 0; moves < MOVES_MAX; moves++) {
      try {
        await this.#move(sender);
        const conversation = await sender.here(this.group);
        await within(`${sender.name} syncs`, conversation.sync());
        if (await published(conversation, text)) return;
        this.again.add(text);
        if (await send(sender, conversation, text)) return;
      } catch (error) {
        last = error;
      }
    }
    throw last ?? new Error(`${sender.name} could not publish "${text}"`);
  }
}

// The key makes a message's second copy the same message, should both have been stored.
async function send(sender, conversation, text) {
  const id = await within(`${sender.name} sends "${text}"`, conversation.sendText(text, { idempotencyKey: text }));
  return sender.conversations.getMessageById(id).deliveryStatus === DeliveryStatus.Published;
}

async function published(conversation, text) {
  const messages = await conversation.messages({ deliveryStatus: DeliveryStatus.Published });
  return messages.some(({ content }) => content === text);
}

function isNumbered(content) {
  return /^message \d+$/.test(content);
}

async function numbered(conversation) {
  return (await conversation.messages({ deliveryStatus: DeliveryStatus.Published })).filter(({ content }) => isNumbered(content));
}

// The order is by the time that each message was stored at, which one that was sent again has twice.
async function alike(senders, { group, messages, again }) {
  const [reference, ...rest] = await Promise.all(
    senders.map(async (sender) => ({ sender, listed: await numbered(await sender.here(group)) })),
  );
  assert.equal(new Set(reference.listed.map(({ content }) => content)).size, messages, 'a message is lost');
  assert.equal(reference.listed.length, messages, 'a message is there twice');
  const ids = (listed) => new Set(listed.map(({ id }) => id));
  const once = (listed) => listed.filter(({ content }) => !again.has(content)).map(({ content }) => content);
  const expected = once(reference.listed);
  for (const { sender, listed } of rest) {
    assert.ok(isDeepStrictEqual(ids(listed), ids(reference.listed)), `${sender.name} ended with other messages`);
    const at = once(listed).findIndex((content, index) => content !== expected[index]);
    const [theirs, ours] = [once(listed)[at], expected[at]];
    assert.equal(at, -1, `at ${at} ${sender.name} lists "${theirs}" and ${reference.sender.name} "${ours}"`);
  }
}

// With the process still gone, a newcomer registers, joins and is heard.
async function afterwards(network, senders, group) {
  const live = await network.liveEdges();
  const newcomer = await network.open('late newcomer', { edge: live[0] });
  const host = senders.find(({ edge }) => live.includes(edge));
  const conversation = await host.find(group);
  await conversation.addMembers([newcomer.inboxId]);
  await (await newcomer.find(group)).sendText('better late than never');
  await host.readsText(group, 'better late than never');
}
