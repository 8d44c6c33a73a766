//! Group index and dispersion from the effective index at three neighbouring frequencies.

use crate::fields::{Derivatives, FrequencyModes};

use super::overlap::LIGHT_SPEED;

/// Takes every three frequencies together: the outer two serve for derivatives only. `step` is the distance between
/// them relative to the middle one.
///
/// With n±, n the indices, the group index is n + f dn/df and the dispersion is -(f/c)² (2 dn/df + f d²n/df²), by
/// central differences.
pub(crate) fn differentiate(modes: Vec<FrequencyModes>, step: f64) -> Vec<FrequencyModes> {
    let mut differentiated = Vec::with_capacity(modes.len() / 3);
    let mut modes = modes.into_iter();
    while let (Some(below), Some(mut at), Some(above)) = (modes.next(), modes.next(), modes.next()) {
        let inverse = 1.0 / step;
        // From s/µm² to ps/(nm km).
        let unit = -1e18 * inverse / LIGHT_SPEED.powi(2);
        let derivatives = at
            .modes
            .iter()
            .enumerate()
            .map(|(number, mode)| {
                let [before, here, after] =
                    [below.modes[number].index.re, mode.index.re, above.modes[number].index.re];
                Derivatives {
                    group_index: here + (after - before) * inverse * 0.5,
                    dispersion: (after * (inverse + 1.0) + before * (inverse - 1.0) - here * inverse * 2.0)
                        * at.frequency
                        * unit,
                }
            })
            .collect();
        at.derivatives = Some(derivatives);
        differentiated.push(at);
    }
    differentiated
}
