// Members are added and removed; a new one reads what follows, a removed one nothing more; one leaves.
import assert from 'node:assert/strict';

import { until } from '../deadline.mjs';

export async function run(network) {
  const [jan, kim, lou, mia] = await network.crowd(4);
  const group = await jan.conversations.createGroup([kim.inboxId]);
  await group.sendText('before lou');
  await kim.readsText(group.id, 'before lou');

  await group.addMembersByIdentifiers([lou.wallet.identifier]);
  await group.sendText('after lou');
  await lou.readsText(group.id, 'after lou');
  const atLou = await lou.find(group.id);
  const seen = (await atLou.messages()).map(({ content }) => content);
  assert.ok(!seen.includes('before lou'), 'a new member reads what was sent before it came');
  assert.equal(atLou.addedByInboxId, jan.inboxId, 'a new member was added by someone else');

  // By default any member may add another.
  const atKim = await kim.find(group.id);
  await atKim.sync();
  await atKim.addMembers([mia.inboxId]);
  await atKim.sendText('hello mia');
  await mia.readsText(group.id, 'hello mia');

  await group.sync();
  await group.removeMembers([lou.inboxId]);
  await group.sendText('after lou left');
  await kim.readsText(group.id, 'after lou left');
  await until('lou sees that it is removed', async () => {
    await atLou.sync();
    return !atLou.isActive;
  });
  assert.ok(!(await atLou.messages()).some(({ content }) => content === 'after lou left'), 'a removed member reads on');
  await assert.rejects(atLou.sendText('still here'), 'a removed member sends');

  // And comes back.
  await group.addMembers([lou.inboxId]);
  await group.sendText('lou again');
  await lou.readsText(group.id, 'lou again');

  const atMia = await mia.find(group.id);
  await atMia.requestRemoval();
  await until('mia has left', async () => {
    await group.sync();
    await atMia.sync();
    const members = await group.members();
    return !members.some(({ inboxId }) => inboxId === mia.inboxId);
  });

  await group.sync();
  const members = new Set((await group.members()).map(({ inboxId }) => inboxId));
  assert.deepEqual(members, new Set([jan, kim, lou].map(({ inboxId }) => inboxId)), 'the group has other members');
}
