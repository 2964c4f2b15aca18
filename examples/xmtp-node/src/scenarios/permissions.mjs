// Admins and permissions: what a member may not do the client refuses, and what it may reaches everyone.
import assert from 'node:assert/strict';

import { GroupPermissionsOptions, MetadataField, PermissionPolicy, PermissionUpdateType } from '@xmtp/node-sdk';

import { until } from '../deadline.mjs';

export async function run(network) {
  const [ray, sue, tom, uma] = await network.crowd(4);
  const group = await ray.conversations.createGroup([sue.inboxId, tom.inboxId], {
    permissions: GroupPermissionsOptions.AdminOnly,
  });
  assert.equal(group.permissions().policyType, GroupPermissionsOptions.AdminOnly, 'the group has other permissions');
  assert.ok(group.isSuperAdmin(ray.inboxId), 'the creator is no super admin');

  const atSue = await sue.find(group.id);
  await assert.rejects(atSue.updateName('by a member'), 'a member renames a group of admins');
  await assert.rejects(atSue.addMembers([uma.inboxId]), 'a member adds to a group of admins');

  await group.addAdmin(sue.inboxId);
  await until('sue is an admin', async () => {
    await atSue.sync();
    return atSue.isAdmin(sue.inboxId);
  });
  await atSue.updateName('by an admin');
  await atSue.addMembers([uma.inboxId]);
  const atUma = await uma.find(group.id);
  assert.equal(atUma.name, 'by an admin', 'a new member knows the group by another name');

  await group.sync();
  await group.updatePermission(PermissionUpdateType.UpdateMetadata, PermissionPolicy.Allow, MetadataField.GroupName);
  const atTom = await tom.find(group.id);
  await until('tom sees the new permission', async () => {
    await atTom.sync();
    return atTom.permissions().policySet.updateGroupNamePolicy === PermissionPolicy.Allow;
  });
  await atTom.updateName('by a member');

  await group.sync();
  await group.removeAdmin(sue.inboxId);
  await group.addSuperAdmin(tom.inboxId);
  await until('everyone agrees on the admins', async () => {
    await Promise.all([group, atSue, atTom, atUma].map((at) => at.sync()));
    return [group, atSue, atTom, atUma].every(
      (at) => at.name === 'by a member' && !at.isAdmin(sue.inboxId) && at.isSuperAdmin(tom.inboxId),
    );
  });
  await assert.rejects(atSue.removeMembers([uma.inboxId]), 'a former admin removes a member');
}
