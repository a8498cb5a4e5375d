//! Which records of a partition are done with: what may be committed is what comes before the first one that is not.

use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Records that have begun, by offset: the epoch of their leader, and whether they are done with.
    records: BTreeMap<i64, (i32, bool)>,
}

impl Window {
    /// A record begins. Offsets grow.
    pub(crate) fn begin(&mut self, offset: i64, epoch: i32) {
        self.records.insert(offset, (epoch, false));
    }

    /// A record is done with. Returns the offset behind those that are, and the epoch of the last one, if that has changed.
    pub(crate) fn finish(&mut self, offset: i64) -> Option<(i64, i32)> {
        self.records.get_mut(&offset)?.1 = true;
        let mut last = None;
        while let Some(first) = self.records.first_entry()
            && first.get().1
        {
            let (offset, (epoch, _)) = first.remove_entry();
            last = Some((offset.saturating_add(1), epoch));
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_does_not_pass_a_record_that_is_not_done_with() {
        let mut window = Window::default();
        for offset in [3, 4, 7, 9] {
            window.begin(offset, 1);
        }
        assert_eq!(window.finish(4), None);
        assert_eq!(window.finish(9), None);
        assert_eq!(window.finish(3), Some((5, 1)));
        assert_eq!(window.finish(3), None, "it is done with already");
        assert_eq!(window.finish(7), Some((10, 1)));
    }
}
