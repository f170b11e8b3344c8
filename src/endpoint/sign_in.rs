//! GET `/sign_in`: the choice of provider, where there is one.

use http::{Response, StatusCode};
use serde_json::json;

use super::Endpoints;
use super::answer::see_other;
use super::ask::Ask;
use super::return_to::ReturnTo;
use crate::refusal::Refusal;

impl Endpoints {
    pub(super) fn sign_in(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let site = &self.settings.site;
        let rd = ReturnTo::read(ask.query.value("rd"), site, &ask.here);
        match self.idps.as_slice() {
            [] => Err(Refusal::NoEndpoint),
            [_] => Ok(see_other(&site.endpoint(
                rd.origin(),
                "/start",
                &[("rd", rd.path())],
            ))),
            several => {
                let choices: Vec<_> = several
                    .iter()
                    .map(|idp| {
                        let idp = idp.settings();
                        let query = [("rd", rd.path()), ("idp", &*idp.name)];
                        let url = site.endpoint(rd.origin(), "/start", &query);
                        json!({ "url": url, "label": &*idp.label })
                    })
                    .collect();
                let context = json!({ "choices": choices });
                Ok(self.pages.render(StatusCode::OK, "sign_in.html", context))
            }
        }
    }
}
