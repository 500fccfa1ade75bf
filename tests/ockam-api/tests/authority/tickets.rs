//! Tickets: ours taken as the published program takes them, and those that it prints by ours.

use std::str::FromStr as _;

use ockam_api::authenticator::enrollment_tokens::TokenIssuer as _;
use ockam_api::cli_state::{
    EnrollmentTicket, ExportedEnrollmentTicket, LegacyEnrollmentTicket, ProjectRoute,
};
use ockam_api::enroll::enrollment::{EnrollStatus, Enrollment as _};
use ockam_api::orchestrator::project::Project;
use ockam_identity::models::Identifier;
use ockam_multiaddr::MultiAddr;

use crate::program::Program;
use crate::world::{Askers, PROJECT, Place, in_node, ours, theirs};

#[test]
fn their_reader_takes_our_tickets() {
    in_node(|context| async move {
        let (askers, program) = (Askers::new(&context).await, Program::new());
        let enroller = Identifier::try_from(program.identity("alice").as_str()).unwrap();
        let place = ours(&program, &[enroller]).await;
        let to = ["--authority-route", &place.route, "--authority-identity", &place.history];
        let make = [&["project", "ticket", "-a", "role=member"], &to[..]].concat();
        for form in [&[][..], &["--hex"], &["--legacy"], &["--output", "json"]] {
            let text = program.run("alice", &[&make[..], form].concat(), "").code(0).stdout;
            let ticket = read(&text).await;
            assert_eq!(ticket.project_id(), PROJECT);
            // As their `project enroll` does it.
            let project = Project::import(ticket.project().unwrap()).await.unwrap();
            assert!(project.is_ready(), "or it asks their cloud for it");
            assert_eq!((project.project_id(), project.name()), (PROJECT, PROJECT));
            assert_eq!(project.authority_identifier(), Some(place.identifier.clone()));
            let route = project.authority_multiaddr().unwrap().to_string();
            let place = Place { route, ..place.clone() };
            let member = askers.identity().await;
            let client = askers.client(&place, &member).await;
            let enrolled = client.present_token(&context, &ticket.one_time_code).await.unwrap();
            assert_eq!(enrolled, EnrollStatus::EnrolledSuccessfully);
            let credential = client.issue_credential(&context).await.unwrap();
            let says = askers.verified(&place, &member, &credential).await.unwrap();
            assert_eq!(says["role"], "member");
            // What they make of it again is read by ours.
            for again in every_form(ticket).await {
                let read =
                    program.run(&format!("reader-{member}"), &["project", "enroll", "-"], &again).code(77);
                assert!(read.stderr.contains("unknown enrollment token"), "read, and used: {}", read.stderr);
            }
        }
    });
}

/// Reads a ticket as their program does: as the older form, if it is one.
async fn read(text: &str) -> EnrollmentTicket {
    match LegacyEnrollmentTicket::from_str(text) {
        Ok(ticket) => EnrollmentTicket::new_from_legacy(ticket).await.unwrap(),
        Err(_) => ExportedEnrollmentTicket::from_str(text).unwrap().import().await.unwrap(),
    }
}

/// The ticket as their program prints it: plain, with `--hex`, `--output json`, `--legacy`, and that as JSON.
async fn every_form(ticket: EnrollmentTicket) -> [String; 5] {
    let exported = ticket.clone().export().unwrap();
    let legacy = ticket.export_legacy().unwrap();
    [
        exported.to_string(),
        exported.hex_encoded().unwrap(),
        serde_json::to_string(&exported).unwrap(),
        legacy.hex_encoded().unwrap(),
        serde_json::to_string(&legacy).unwrap(),
    ]
}

#[test]
fn our_program_takes_their_tickets() {
    in_node(|context| async move {
        let (askers, program) = (Askers::new(&context).await, Program::new());
        let enroller = askers.identity().await;
        let place = theirs(&context, &[enroller.clone()]).await;
        let client = askers.client(&place, &enroller).await;
        let node = askers.identity().await;
        let node = askers.crates.identities().get_identity(&node).await.unwrap();
        for at in 0..5 {
            let attributes = [("role".to_owned(), "member".to_owned())].into();
            let code = client.create_token(&context, attributes, None, None).await.unwrap();
            let route = "/dnsaddr/localhost/tcp/4000/service/demo/service/api";
            let ticket = ExportedEnrollmentTicket::new(
                code,
                ProjectRoute::new(MultiAddr::from_str(route).unwrap()).unwrap(),
                node.identifier().clone(),
                "a name",
                node.export_as_string().unwrap(),
                &place.history,
                MultiAddr::from_str(&place.route).unwrap(),
            );
            let ticket = every_form(ticket.import().await.unwrap()).await[at].clone();
            let home = format!("member-{at}");
            let enroll = ["project", "enroll", "-", "--output", "json"];
            let enrolled = program.run(&home, &enroll, &ticket).code(0).json();
            assert!(enrolled["credential"].is_string(), "{enrolled}");
            let known = program.run(&home, &["project", "show", "--output", "json"], "").code(0).json();
            let known = ["id", "name", "access_route"].map(|field| known[field].as_str().unwrap().to_owned());
            assert_eq!(known, [PROJECT, "a name", route], "form {at}");
            // And again without a ticket, from what is known now.
            program.run(&home, &["project", "enroll"], "").code(0);
        }
    });
}
