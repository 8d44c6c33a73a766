//! How an error is told to somebody who sees only one line of it.

/// An error with everything below it on one line: `a: b: c`.
///
/// Libraries often repeat their source in their own text; it is told once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layered {
        #[error("the disk is full")]
        Bottom,
        #[error("the file cannot be written")]
        Silent(#[source] Box<Layered>),
        #[error("the task failed: {0}")]
        Repeating(#[source] Box<Layered>),
    }

    #[test]
    fn each_cause_is_told_once() {
        let silent = Layered::Silent(Box::new(Layered::Bottom));
        assert_eq!(chain(&silent), "the file cannot be written: the disk is full");
        assert_eq!(
            chain(&Layered::Repeating(Box::new(silent))),
            "the task failed: the file cannot be written: the disk is full"
        );
        let repeating = Layered::Repeating(Box::new(Layered::Bottom));
        assert_eq!(chain(&repeating), "the task failed: the disk is full");
    }
}
