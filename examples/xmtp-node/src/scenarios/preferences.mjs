// Device sync without a history server: what one installation consents to, the owner's other one learns.
import assert from 'node:assert/strict';

import { ConsentEntityType, ConsentState } from '@xmtp/node-sdk';

import { until } from '../deadline.mjs';

export async function run(network) {
  const wallet = network.wallet('gil');
  const synced = { wallet, disableDeviceSync: false, historySyncUrl: null };
  const phone = await network.open('gil', synced);
  const friend = await network.open('hew');
  const laptop = await network.open('gil, second', synced);
  assert.equal(laptop.inboxId, phone.inboxId, 'the second installation has another inbox');

  // A newer installation makes a group for the owner's devices, and what is said before the older has joined it is lost.
  await until('the first installation joins the second', async () => {
    const { numEligible } = await phone.client.preferences.sync();
    return numEligible >= 2;
  });

  const dm = await friend.conversations.createDm(phone.inboxId);
  await dm.sendText('do you know me');
  const atPhone = await phone.find(dm.id);
  const atLaptop = await laptop.find(dm.id);

  for (const state of [ConsentState.Allowed, ConsentState.Denied, ConsentState.Allowed]) {
    atPhone.updateConsentState(state);
    await until(`the second installation learns consent ${state}`, async () => {
      await phone.client.preferences.sync();
      await laptop.client.preferences.sync();
      return atLaptop.consentState() === state;
    });
  }

  await laptop.client.preferences.setConsentStates([
    { entityType: ConsentEntityType.InboxId, entity: friend.inboxId, state: ConsentState.Denied },
  ]);
  await until('the first installation learns of the block', async () => {
    await laptop.client.preferences.sync();
    await phone.client.preferences.sync();
    return (await phone.client.preferences.getConsentState(ConsentEntityType.InboxId, friend.inboxId)) === ConsentState.Denied;
  });
}
