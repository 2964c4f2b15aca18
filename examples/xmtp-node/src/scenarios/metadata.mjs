// A group's name, description, picture and data reach every member, and a message says so.
import assert from 'node:assert/strict';

import { isGroupUpdated } from '@xmtp/node-sdk';

import { until } from '../deadline.mjs';

export async function run(network) {
  const [ned, oda, pam] = await network.crowd(3);
  const group = await ned.conversations.createGroup([oda.inboxId, pam.inboxId], {
    groupName: 'first name',
    groupDescription: 'first description',
    groupImageUrlSquare: 'https://example.org/first.png',
  });
  const atOda = await oda.find(group.id);
  assert.equal(atOda.name, 'first name', 'the first name is another');
  assert.equal(atOda.description, 'first description', 'the first description is another');
  assert.equal(atOda.imageUrl, 'https://example.org/first.png', 'the first picture is another');

  await group.updateName('second name');
  await group.updateDescription('second description');
  await group.updateImageUrl('https://example.org/second.png');
  await group.updateAppData('{"colour":"teal"}');

  for (const member of [oda, pam]) {
    const here = await member.find(group.id);
    await until(`${member.name} sees the new metadata`, async () => {
      await here.sync();
      return (
        here.name === 'second name' &&
        here.description === 'second description' &&
        here.imageUrl === 'https://example.org/second.png' &&
        here.appData === '{"colour":"teal"}'
      );
    });
    const changes = (await here.messages()).filter(isGroupUpdated).flatMap(({ content }) => content.metadataFieldChanges);
    const renamed = changes.find(({ newValue }) => newValue === 'second name');
    assert.equal(renamed?.oldValue, 'first name', `no message tells ${member.name} of the new name`);
  }

  await atOda.updateName('third name');
  await until('ned sees the third name', async () => {
    await group.sync();
    return group.name === 'third name';
  });
}
