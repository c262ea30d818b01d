//! Objects that more than one image of a run is linked from: they are compiled once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::object::PackageObject;
use crate::digest::Sha256;
use crate::erofs::CodecSettings;

/// Objects by the hash of their package and the settings that they are compiled with. Each is kept for
/// as long as an image is to come that needs it, and no longer.
#[derive(Debug, Default)]
pub struct SharedObjects(Mutex<BTreeMap<(Sha256, CodecSettings), Slot>>);

#[derive(Debug, Default)]
struct Slot {
    /// Images to come.
    wanted: usize,
    object: Option<Arc<PackageObject>>,
}

impl SharedObjects {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<(Sha256, CodecSettings), Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image will be linked from `debs` with `settings`.
    pub fn expect(&self, debs: impl IntoIterator<Item = Sha256>, settings: CodecSettings) {
        let mut slots = self.slots();
        for deb in debs {
            slots.entry((deb, settings)).or_default().wanted += 1;
        }
    }

    /// The object of `deb`, if an image before this one had it.
    #[must_use]
    pub fn take(&self, deb: Sha256, settings: CodecSettings) -> Option<Arc<PackageObject>> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&(deb, settings))?;
        slot.wanted = slot.wanted.saturating_sub(1);
        if slot.wanted == 0 {
            return slots.remove(&(deb, settings))?.object;
        }
        slot.object.clone()
    }

    /// Keeps `object` if an image to come needs it.
    pub fn keep(&self, settings: CodecSettings, object: &Arc<PackageObject>) {
        if let Some(slot) = self.slots().get_mut(&(object.deb, settings)) {
            slot.object.get_or_insert_with(|| Arc::clone(object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Control;
    use crate::profile::schema::Root;

    #[test]
    fn an_object_is_kept_until_its_last_image() {
        let settings = Root::default().compression.settings();
        let other = CodecSettings {
            level: settings.level + 1,
            ..settings
        };
        let object = |byte| {
            Arc::new(PackageObject {
                deb: Sha256([byte; 32]),
                control: Control::default(),
                entries: Vec::new(),
            })
        };
        let (common, own) = (object(1), object(2));
        let shared = SharedObjects::default();
        shared.expect([common.deb, own.deb], settings);
        shared.expect([common.deb], settings);
        shared.expect([common.deb], other);
        let held = |object: &Arc<PackageObject>| Arc::strong_count(object) > 1;

        for object in [&common, &own] {
            assert!(shared.take(object.deb, settings).is_none());
            shared.keep(settings, object);
        }
        assert!(held(&common) && !held(&own));
        assert!(shared.take(common.deb, other).is_none(), "other settings");
        assert!(shared.take(common.deb, settings).is_some());
        assert!(!held(&common));
    }
}
