//! Names of frames before those of the session's tables, for one statement only: other statements that run meanwhile, on the same
//! session, may call other frames by the same names.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use super::source::Frame;
use super::table::FrameTable;

type Tables = Arc<BTreeMap<String, Arc<dyn TableProvider>>>;

/// A context that shares all with `context`, and has `frames` besides.
///
/// Rows of a frame come in its own order, as they do from the library it belongs to: its partition is not dealt out.
///
/// # Errors
/// When two names are the same.
pub(crate) fn with_frames(context: &SessionContext, frames: Vec<(String, Arc<dyn Frame>)>) -> Result<SessionContext> {
    let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
    for (name, frame) in frames {
        if tables.contains_key(&name) {
            return plan_err!("two frames are called '{name}'");
        }
        tables.insert(name.clone(), Arc::new(FrameTable { name, frame }));
    }
    let mut state = context.state();
    let options = state.config().options();
    let place = Place { catalog: options.catalog.default_catalog.clone(), schema: options.catalog.default_schema.clone() };
    state.config_mut().options_mut().optimizer.enable_round_robin_repartition = false;
    let inner = Arc::clone(state.catalog_list());
    state.register_catalog_list(Arc::new(Catalogs { inner, place, tables: Arc::new(tables) }));
    Ok(SessionContext::new_with_state(state))
}

/// Where names without a schema are looked for.
#[derive(Debug, Clone)]
struct Place {
    catalog: String,
    schema: String,
}

#[derive(Debug)]
struct Catalogs {
    inner: Arc<dyn CatalogProviderList>,
    place: Place,
    tables: Tables,
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, name: String, catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        self.inner.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.inner.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let inner = self.inner.catalog(name)?;
        if name != self.place.catalog {
            return Some(inner);
        }
        Some(Arc::new(Schemas { inner, schema: self.place.schema.clone(), tables: Arc::clone(&self.tables) }))
    }
}

#[derive(Debug)]
struct Schemas {
    inner: Arc<dyn CatalogProvider>,
    schema: String,
    tables: Tables,
}

impl CatalogProvider for Schemas {
    fn schema_names(&self) -> Vec<String> {
        self.inner.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let inner = self.inner.schema(name)?;
        if name != self.schema {
            return Some(inner);
        }
        Some(Arc::new(Names { inner, tables: Arc::clone(&self.tables) }))
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        self.inner.register_schema(name, schema)
    }

    fn deregister_schema(&self, name: &str, cascade: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        self.inner.deregister_schema(name, cascade)
    }
}

/// Frames first, then the tables of the session.
#[derive(Debug)]
struct Names {
    inner: Arc<dyn SchemaProvider>,
    tables: Tables,
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        let others = self.inner.table_names().into_iter().filter(|name| !self.tables.contains_key(name));
        self.tables.keys().cloned().chain(others).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.tables.get(name) {
            Some(table) => Ok(Some(Arc::clone(table))),
            None => match (self.inner.table(name).await?, self.tables.keys().find(|own| own.eq_ignore_ascii_case(name))) {
                (None, Some(own)) => plan_err!("table '{name}' not found\n\nhint: a frame is called '{own}': write it as \"{own}\""),
                (found, _) => Ok(found),
            },
        }
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.tables.contains_key(&name) {
            return plan_err!("'{name}' is a frame\n\nhint: give the table another name");
        }
        self.inner.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.tables.contains_key(name) {
            return plan_err!("'{name}' is a frame, which the statement does not own");
        }
        self.inner.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.inner.table_exist(name)
    }
}
