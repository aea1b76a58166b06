//! The SQL functions, one file each. A new one is a file and a line in one of the two lists.

mod late;
mod metric_table;
mod mm_accuracy;
mod mm_amount;
mod mm_auc;
mod mm_average;
mod mm_brier;
mod mm_calibration;
mod mm_classify;
mod mm_confusion;
mod mm_csi;
mod mm_ece;
mod mm_embed;
mod mm_errors;
mod mm_explain;
mod mm_f1;
mod mm_fuse;
mod mm_generate;
mod mm_generate_image;
mod mm_gini;
mod mm_ks;
mod mm_ks2;
mod mm_lift;
mod mm_logloss;
mod mm_mae;
mod mm_models;
mod mm_ocr;
mod mm_predict;
mod mm_predict_table;
mod mm_prompt;
mod mm_psi;
mod mm_r2;
mod mm_reasons;
mod mm_receipt;
mod mm_rmse;
mod mm_roc;
mod mm_search;
mod mm_similarity;
mod mm_transcribe;
mod mm_try_classify;
mod mm_try_embed;
mod mm_try_explain;
mod mm_try_fuse;
mod mm_try_generate;
mod mm_try_generate_image;
mod mm_try_ocr;
mod mm_try_predict;
mod mm_try_prompt;
mod mm_try_reasons;
mod mm_try_similarity;
mod mm_try_transcribe;
mod mm_write;
mod table_call;
mod vectors;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(crate) use metric_table::MetricTable;
pub(crate) use mm_models::models_batch;
pub(crate) use mm_predict_table::PredictTable;
pub(crate) use mm_search::{Search, rewrite_searched_table};
pub(crate) use vectors::VectorFunction;

use crate::engine::Engine;

/// All scalar functions, by name.
pub(crate) fn scalar_functions(engine: &Arc<Engine>) -> Vec<ScalarUDF> {
    vec![
        mm_amount::function(),
        mm_classify::function(engine),
        mm_embed::function(engine),
        mm_explain::function(engine),
        mm_fuse::function(engine),
        mm_generate::function(engine),
        mm_generate_image::function(engine),
        mm_ocr::function(engine),
        mm_predict::function(engine),
        mm_prompt::function(engine),
        mm_reasons::function(engine),
        mm_receipt::function(engine),
        mm_similarity::function(engine),
        mm_transcribe::function(engine),
        mm_try_classify::function(engine),
        mm_try_embed::function(engine),
        mm_try_explain::function(engine),
        mm_try_fuse::function(engine),
        mm_try_generate::function(engine),
        mm_try_generate_image::function(engine),
        mm_try_ocr::function(engine),
        mm_try_predict::function(engine),
        mm_try_prompt::function(engine),
        mm_try_reasons::function(engine),
        mm_try_similarity::function(engine),
        mm_try_transcribe::function(engine),
        mm_write::function(),
    ]
}

/// All aggregate functions, by name.
pub(crate) fn aggregate_functions() -> Vec<AggregateUDF> {
    vec![
        mm_accuracy::function(),
        mm_auc::function(),
        mm_average::function(),
        mm_brier::function(),
        mm_calibration::function(),
        mm_confusion::function(),
        mm_csi::function(),
        mm_ece::function(),
        mm_f1::function(),
        mm_gini::function(),
        mm_ks::function(),
        mm_ks2::function(),
        mm_lift::function(),
        mm_logloss::function(),
        mm_mae::function(),
        mm_psi::function(),
        mm_r2::function(),
        mm_rmse::function(),
        mm_roc::function(),
    ]
}

/// A function that stands in FROM.
pub(crate) struct TableFunctionEntry {
    pub(crate) name: &'static str,
    pub(crate) syntax: &'static str,
    pub(crate) description: &'static str,
    pub(crate) example: &'static str,
    /// What serves it; `mm_predict_table` and `mm_search` are written out by planners of their own.
    pub(crate) implementation: Option<Arc<dyn TableFunctionImpl>>,
}

/// All table functions, by name.
pub(crate) fn table_functions(engine: &Arc<Engine>) -> Vec<TableFunctionEntry> {
    vec![mm_errors::entry(engine), mm_models::entry(engine), mm_predict_table::entry(), mm_search::entry()]
}
