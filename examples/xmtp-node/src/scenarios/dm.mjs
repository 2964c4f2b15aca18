// A direct conversation, both ways, across two edges; and one that both begin at once.
import assert from 'node:assert/strict';

import { until } from '../deadline.mjs';

export async function run(network) {
  const ann = await network.open('ann');
  const ben = await network.open('ben');

  const dm = await ann.conversations.createDmWithIdentifier(ben.wallet.identifier);
  const hello = await dm.sendText('hello');
  const heard = await ben.readsText(dm.id, 'hello');
  assert.equal(heard.id, hello, 'the message has another id at its reader');
  assert.equal(heard.senderInboxId, ann.inboxId, 'the message has another sender at its reader');

  const back = await ben.find(dm.id);
  assert.equal(back.peerInboxId, ann.inboxId, 'the other side of the conversation is someone else');
  await back.sendText('hello yourself');
  await ann.readsText(dm.id, 'hello yourself');
  await dm.sendText('how are things');
  await ben.readsText(dm.id, 'how are things');

  const atAnn = (await dm.messages()).map(({ id }) => id);
  const atBen = (await back.messages()).map(({ id }) => id);
  assert.deepEqual(atBen.slice(-3), atAnn.slice(-3), 'the two sides list other messages, or in another order');

  await bothAtOnce(network);
}

// Each makes a group of its own for the same two; the clients agree on one of them.
async function bothAtOnce(network) {
  const cat = await network.open('cat');
  const dan = await network.open('dan');
  const [fromCat, fromDan] = await Promise.all([
    cat.conversations.createDm(dan.inboxId),
    dan.conversations.createDm(cat.inboxId),
  ]);
  await fromCat.sendText('from cat');
  await fromDan.sendText('from dan');
  for (const [reader, text] of [
    [dan, 'from cat'],
    [cat, 'from dan'],
  ]) {
    await until(`${reader.name} reads "${text}"`, async () => {
      await reader.conversations.syncAll();
      const dms = reader.conversations.listDms();
      if (dms.length !== 1) return false;
      return (await dms[0].messages()).some(({ content }) => content === text);
    });
  }
}
