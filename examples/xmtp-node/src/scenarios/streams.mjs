// What streams give: conversations as they are made, and each message once, also of those made while the stream runs.
import assert from 'node:assert/strict';

import { Watch } from '../watch.mjs';

const TEXTS = 50;

export async function run(network) {
  const gus = await network.open('gus');
  const hal = await network.open('hal');
  const ida = await network.open('ida');

  const old = await gus.conversations.createDm(hal.inboxId);
  await old.sendText('before the stream');
  await hal.readsText(old.id, 'before the stream');

  const conversations = await Watch.over("hal's stream of conversations", (on) => hal.conversations.stream(on));
  const groups = await Watch.over("hal's stream of groups", (on) => hal.conversations.streamGroups(on));
  const messages = await Watch.over("hal's stream of messages", (on) => hal.conversations.streamAllMessages(on));
  const dms = await Watch.over("hal's stream of direct messages", (on) => hal.conversations.streamAllDmMessages(on));

  await old.sendText('to an old conversation');
  await messages.next('a text in an old conversation', ({ content }) => content === 'to an old conversation');

  const group = await gus.conversations.createGroup([hal.inboxId, ida.inboxId], { groupName: 'fresh' });
  await conversations.next('the new group', ({ id }) => id === group.id);
  await groups.next('the new group', ({ id }) => id === group.id);
  await group.sendText('to a new group');
  await messages.next('a text in a new group', ({ content }) => content === 'to a new group');

  const dm = await ida.conversations.createDm(hal.inboxId);
  await conversations.next('the new conversation', ({ id }) => id === dm.id);
  assert.ok(!groups.seen.some(({ id }) => id === dm.id), 'a stream of groups gives a direct conversation');
  await dm.sendText('to a new conversation');
  await dms.next('a text in a new conversation', ({ content }) => content === 'to a new conversation');

  // A joiner's first text comes with a commit. The client's own streams may leave it out when other texts come in beside
  // it, on an in-memory server too; so it comes alone.
  const atIda = await ida.find(group.id);
  await atIda.sendText('from who joined');
  await messages.next('the first text of who joined', ({ content }) => content === 'from who joined');

  const one = await hal.find(group.id);
  const single = await Watch.over("hal's stream of the group", (on) => one.stream(on));
  const sent = [];
  await Promise.all(
    [group, atIda].map(async (conversation) => {
      for (let i = 0; i < TEXTS / 2; i++) sent.push(await conversation.sendText(`text ${i}`));
    }),
  );
  for (const watch of [single, messages]) {
    const fits = ({ id }) => sent.includes(id);
    const given = (await watch.count('texts', TEXTS, fits).catch((error) => explain(error, watch, one, sent))).map(({ id }) => id);
    assert.equal(new Set(given).size, given.length, `${watch.what} gives a message twice`);
  }

  for (const watch of [conversations, groups, messages, dms, single]) {
    await watch.end();
    assert.deepEqual(watch.errors, [], `${watch.what} reports an error`);
  }
}

// Whether a text that a stream did not give can be read at all, and which one it was.
async function explain(error, watch, conversation, sent) {
  await conversation.sync();
  const readable = (await conversation.messages()).map(({ id }) => id);
  const given = watch.seen.map(({ id }) => id);
  const missing = sent.flatMap((id, place) => (given.includes(id) ? [] : [`${place}${readable.includes(id) ? '' : ' (not readable)'}`]));
  throw new Error(`${error.message}; missing of ${sent.length}: ${missing.join(', ')}`, { cause: error });
}
