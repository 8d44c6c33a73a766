//! Inference of tables: what a model measured at some temperatures says of a field of temperatures.
//!
//! A table is an array like others; what differs from interpolation is that the places are not written out but are what
//! other arrays have. The rules are those of tidy3d's `CustomHeatPerturbation` and `CustomChargePerturbation`.

use std::sync::Arc;

use super::alignment::{Join, align, merge};
use super::infer::{Context, Inferred, Typed, axes_of, distinct};
use super::mesh;
use super::{DataType, ExpressionError, InterpolationMethod};

/// Dimensions that a table has at most.
const DIMENSIONS: usize = 2;

impl Context<'_> {
    pub(super) fn lookup(
        &mut self,
        table: Inferred,
        at: Vec<(Arc<str>, Inferred)>,
        method: InterpolationMethod,
    ) -> Result<Inferred, ExpressionError> {
        let refuse = |what: String| Err(ExpressionError::invalid("lookup", what));
        mesh::refuse("lookup", &table)?;
        if table.data_type == DataType::Boolean {
            return refuse("a table of conditions has nothing between them".to_owned());
        }
        let count = table.labels.dimensions.len();
        if count == 0 || count > DIMENSIONS {
            return refuse(format!("a table has one or two dimensions, not {count}"));
        }
        for dimension in &table.labels.dimensions {
            let name = &dimension.name;
            if dimension.coordinate.numbers().is_none_or(<[f64]>::is_empty) {
                return refuse(format!("along {name} the table has no places that are numbers"));
            }
            if dimension.coordinate.has_duplicates() {
                return refuse(format!(
                    "along {name} the table repeats a place, so that values between them are not unique"
                ));
            }
        }
        distinct("lookup", at.iter().map(|(name, _)| name))?;
        let names: Vec<Arc<str>> = at.iter().map(|(name, _)| name.clone()).collect();
        let axes = axes_of("lookup", &table.labels, &names)?;
        if axes.len() != count {
            return refuse(format!("{} places in a table of {count} dimensions", axes.len()));
        }
        let mut ordered: Vec<(usize, Inferred)> =
            axes.into_iter().zip(at.into_iter().map(|(_, at)| at)).collect();
        let Some((_, first)) = ordered.first() else { return refuse("no place in the table".to_owned()) };
        let (mut labels, mut on) = (first.labels.clone(), first.mesh.clone());
        for (number, (_, at)) in ordered.iter().enumerate() {
            if matches!(at.data_type, DataType::Boolean | DataType::Complex) {
                return refuse("a place in a table is a real number".to_owned());
            }
            if number > 0 {
                on = mesh::common(&ordered[0].1, at)?;
                align("lookup", &labels, &at.labels, Join::Exact)?;
                labels = merge(&labels, &at.labels);
            }
        }
        ordered.sort_by_key(|(axis, _)| *axis);
        let at = ordered.into_iter().map(|(_, at)| at).collect();
        let data_type = table.data_type.max(DataType::Float);
        let node = Typed::Lookup { table: Box::new(table), at, method };
        Ok(Inferred { labels, data_type, mesh: on, node })
    }
}
