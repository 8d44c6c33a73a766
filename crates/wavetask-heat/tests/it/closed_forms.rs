//! Solutions that are known in closed form: within half a percent on a moderate mesh, and of second order.

use crate::cases;

#[test]
fn closed_forms_are_met_and_errors_fall_with_the_square_of_the_cell_size() {
    println!("| problem | size | points | largest error | mean error | order | balance |");
    let mut failures = Vec::new();
    for case in cases::all() {
        let outcomes = case.sizes.map(|size| case.outcome(size));
        let mut orders = Vec::new();
        for (index, outcome) in outcomes.iter().enumerate() {
            let order = (index > 0).then(|| (outcomes[index - 1].mean / outcome.mean).log2());
            orders.extend(order);
            println!(
                "| {} | {} | {} | {:.2e} | {:.2e} | {} | {:.1e} |",
                case.name,
                outcome.size,
                outcome.unknowns,
                outcome.largest,
                outcome.mean,
                order.map_or(String::new(), |order| format!("{order:.2}")),
                outcome.balance,
            );
            if outcome.balance > 1e-6 {
                failures.push(format!("{}: heat in and out differ by {:e}", case.name, outcome.balance));
            }
        }
        if outcomes[1].largest > 0.005 {
            failures.push(format!("{}: error {:.4} on the moderate mesh", case.name, outcomes[1].largest));
        }
        if case.exact {
            if outcomes.iter().any(|outcome| outcome.largest > 1e-6) {
                failures.push(format!("{}: not exact at mesh points", case.name));
            }
        } else if (outcomes[0].mean / outcomes[2].mean).log2() / 2.0 < 1.7 {
            failures.push(format!("{}: orders {orders:.2?}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
