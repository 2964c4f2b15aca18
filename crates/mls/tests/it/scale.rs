//! Large groups.

use crate::world::{World, open_group};
use tidings_types::InboxId;

#[test]
fn a_group_of_250_is_made_by_one_commit() {
    let mut world = World::new(60, &[1; 250]);
    world.create(0, open_group());
    let people: Vec<InboxId> = world.heads.keys().copied().skip(1).collect();
    let changes = world.adding(&people);
    let pending = world.commit(0, changes);
    world.submit(&pending.envelope).unwrap();
    world.catch_up();
    let welcome = pending.welcome.clone().unwrap();
    assert_eq!(welcome.invitees.len(), 249);
    // Two of them join and talk; the others would do the same work.
    for device in [1, 249] {
        let (_, key) = world.owner(device);
        let invitee = welcome.invitees.iter().find(|it| it.installation() == key).unwrap();
        let group = world.devices[0].group().id();
        let envelope = welcome
            .reference
            .point(group, invitee, 1, &crate::world::CONTEXT, crate::world::NETWORK)
            .unwrap();
        let pointer = world.devices[device].installation.open_pointer(&envelope.body.payload);
        world.join(device, &pointer.unwrap(), &welcome.blob);
    }
    world.check_agreement(&[0, 1, 249]);
    let (envelope, message) = world.send(249, "a large room");
    world.check_read(&[0, 1], &envelope, &message);
    world.change(1, tidings_mls::Changes::default());
    world.check_agreement(&[0, 1, 249]);
}
