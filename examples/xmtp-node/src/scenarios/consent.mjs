// Consent: a new conversation is of unknown consent, one can be allowed or blocked, and a stream tells of it.
import assert from 'node:assert/strict';

import { ConsentEntityType, ConsentState } from '@xmtp/node-sdk';

import { until } from '../deadline.mjs';
import { Watch } from '../watch.mjs';

export async function run(network) {
  const vic = await network.open('vic');
  const wes = await network.open('wes');
  const dm = await vic.conversations.createDm(wes.inboxId);
  assert.equal(dm.consentState(), ConsentState.Allowed, 'one does not consent to what one began');
  await dm.sendText('do you know me');

  const atWes = await wes.find(dm.id);
  assert.equal(atWes.consentState(), ConsentState.Unknown, 'one consents to what one has not seen');

  const told = await Watch.over("wes's stream of consent", (on) => wes.client.preferences.streamConsent(on));
  const allowed = await Watch.over("wes's stream of allowed messages", (on) =>
    wes.conversations.streamAllMessages({ ...on, consentStates: [ConsentState.Allowed] }),
  );
  atWes.updateConsentState(ConsentState.Allowed);
  assert.equal(atWes.consentState(), ConsentState.Allowed, 'a conversation does not stay allowed');
  const listed = await wes.conversations.list({ consentStates: [ConsentState.Allowed] });
  assert.ok(listed.some(({ id }) => id === dm.id), 'an allowed conversation is not listed');

  await wes.client.preferences.setConsentStates([
    { entityType: ConsentEntityType.InboxId, entity: vic.inboxId, state: ConsentState.Denied },
  ]);
  await told.next('the block', (records) => records.some(({ entity, state }) => entity === vic.inboxId && state === ConsentState.Denied));
  assert.equal(
    await wes.client.preferences.getConsentState(ConsentEntityType.InboxId, vic.inboxId),
    ConsentState.Denied,
    'a blocked inbox is not blocked',
  );

  atWes.updateConsentState(ConsentState.Denied);
  await until('the blocked conversation is hidden', async () => {
    const visible = await wes.conversations.list({ consentStates: [ConsentState.Allowed, ConsentState.Unknown] });
    return !visible.some(({ id }) => id === dm.id);
  });
  atWes.updateConsentState(ConsentState.Allowed);
  const again = await wes.conversations.list({ consentStates: [ConsentState.Allowed] });
  assert.ok(again.some(({ id }) => id === dm.id), 'a conversation allowed again is not listed');
  await told.end();
  await allowed.end();
}
