//! Data that tidy3d has written into files.

use std::fs::File;
use std::path::Path;

use wavetask_document::expression::{Documents, Expression, ExpressionError, ExpressionLimits, infer};
use wavetask_document::{Limits, MemoryBlocks, hdf5};
use wavetask_expression::{Evaluated, WithMeshes, evaluate};

/// The value of an expression over the data in a file. The expression's fields name it by the word `DIGEST`.
pub(crate) fn value(file: &Path, expression: &str) -> Result<Evaluated, ExpressionError> {
    let mut blocks = MemoryBlocks::new();
    let opened = File::open(file).expect("the file is there");
    let document = hdf5::read_file(&opened, &Limits::default(), &mut blocks).expect("a document");
    let digest = document.digest().expect("a digest");
    let mut documents = Documents::new(blocks);
    documents.insert(digest, document);
    let expression: Expression =
        serde_json::from_str(&expression.replace("DIGEST", &digest.to_string())).expect("an expression");
    let limits = ExpressionLimits::default();
    let schema = WithMeshes { schema: &documents, reader: &documents };
    evaluate(&infer(&expression, &schema, &limits)?.plan(&limits)?, &documents)
}
