//! `CREATE ROLE`, `GRANT`, `REVOKE`, `ALTER DEFAULT PRIVILEGES`, `… OWNER TO`, `SET ROLE`.
//!
//! By hand, since the kinds of object are the engine's: a word before the name says the kind, whatever it is.

use datafusion::error::DataFusionError;
use maru_core::{Error, ErrorKind, Result, Secret};
use sqlparser::ast::Statement as Ast;
use sqlparser::tokenizer::Token;

use super::{Words, lower_set};
use crate::statement::*;

impl Words<'_> {
    /// Reads a statement on roles or rights; `None` leaves the text untouched.
    pub(super) fn access(&mut self) -> Result<Option<Statement>> {
        for word in ["role", "user", "group"] {
            if self.take(&["create", word]) {
                return self.create_role(word == "user").map(Some);
            }
            if self.take(&["alter", word]) {
                return self.alter_role().map(Some);
            }
            if self.take(&["drop", word]) {
                return self.drop_role().map(Some);
            }
        }
        if self.take(&["grant"]) {
            return self.grant(true).map(Some);
        }
        if self.take(&["revoke"]) {
            return self.grant(false).map(Some);
        }
        if self.take(&["alter", "default", "privileges"]) {
            return self.default_privileges().map(Some);
        }
        if self.take(&["reassign", "owned", "by"]) {
            let roles = self.role_names()?;
            self.expect(&["to"])?;
            let to = Some(self.role_name()?);
            return Ok(Some(Statement::Owned(Owned { roles, to })));
        }
        if self.take(&["drop", "owned", "by"]) {
            let roles = self.role_names()?;
            if !self.take(&["cascade"]) {
                self.take(&["restrict"]);
            }
            return Ok(Some(Statement::Owned(Owned { roles, to: None })));
        }
        if self.take(&["set", "role"]) || self.take(&["set", "session", "role"]) {
            let text = matches!(self.0.parser.peek_token().token, Token::SingleQuotedString(_));
            let role = match text {
                true => Some(RoleName::Named(self.string()?)),
                false if self.take(&["none"]) => None,
                false => Some(self.role_name()?),
            };
            return Ok(Some(Statement::SetRole(role)));
        }
        if self.take(&["reset", "role"]) {
            return Ok(Some(Statement::SetRole(None)));
        }
        if self.take(&["create", "policy"]) {
            return self.create_policy().map(Some);
        }
        if self.take(&["alter", "policy"]) {
            return self.alter_policy().map(Some);
        }
        if self.take(&["drop", "policy"]) {
            let if_exists = self.take(&["if", "exists"]);
            let name = self.ident()?;
            self.expect(&["on"])?;
            let table = self.name()?;
            if !self.take(&["cascade"]) {
                self.take(&["restrict"]);
            }
            return Ok(Some(Statement::DropPolicy(DropPolicy { name, table, if_exists })));
        }
        if let Some(statement) = self.alter_owner()? {
            return Ok(Some(statement));
        }
        if self.take(&["alter", "table"]) || self.take(&["alter", "view"]) {
            return self.alter_table().map(Some);
        }
        Ok(None)
    }

    fn create_policy(&mut self) -> Result<Statement> {
        let name = self.ident()?;
        self.expect(&["on"])?;
        let table = self.name()?;
        let mut permissive = true;
        if self.take(&["as"]) {
            permissive = self.take(&["permissive"]);
            if !permissive {
                self.expect(&["restrictive"])?;
            }
        }
        let command = if self.take(&["for"]) { self.policy_command()? } else { PolicyCommand::All };
        let roles = if self.take(&["to"]) { self.role_names()? } else { Vec::new() };
        let (using, check) = self.policy_conditions()?;
        Ok(Statement::CreatePolicy(CreatePolicy {
            name,
            table,
            permissive,
            command,
            roles,
            using,
            check,
        }))
    }

    fn policy_command(&mut self) -> Result<PolicyCommand> {
        let known = [
            ("all", PolicyCommand::All),
            ("select", PolicyCommand::Select),
            ("insert", PolicyCommand::Insert),
            ("update", PolicyCommand::Update),
            ("delete", PolicyCommand::Delete),
        ];
        for (word, command) in known {
            if self.take(&[word]) {
                return Ok(command);
            }
        }
        Err(self.unexpected("ALL, SELECT, INSERT, UPDATE or DELETE"))
    }

    /// Reads `[USING (condition)] [WITH CHECK (condition)]`.
    fn policy_conditions(&mut self) -> Result<(Option<String>, Option<String>)> {
        let using = if self.take(&["using"]) { Some(self.expression()?) } else { None };
        let check = match self.take(&["with", "check"]) {
            true => Some(self.expression()?),
            false => None,
        };
        Ok((using, check))
    }

    fn alter_policy(&mut self) -> Result<Statement> {
        let name = self.ident()?;
        self.expect(&["on"])?;
        let table = self.name()?;
        let change = if self.take(&["rename", "to"]) {
            PolicyChange::Rename(self.ident()?)
        } else {
            let roles = if self.take(&["to"]) { Some(self.role_names()?) } else { None };
            let (using, check) = self.policy_conditions()?;
            if roles.is_none() && using.is_none() && check.is_none() {
                return Err(self.unexpected("RENAME TO, TO, USING or WITH CHECK"));
            }
            PolicyChange::Set { roles, using, check }
        };
        Ok(Statement::AlterPolicy(AlterPolicy { name, table, change }))
    }

    fn alter_table(&mut self) -> Result<Statement> {
        let if_exists = self.take(&["if", "exists"]);
        let table = self.name()?;
        let is_mask = self.sees(&["drop", "mask", "for"]);
        let words = ["add", "drop", "rename", "alter"];
        if words.iter().any(|word| self.sees(&[word])) && !is_mask {
            return self.alterations(table, if_exists);
        }
        let change = if self.take(&["enable"]) {
            SecurityChange::Enable(true)
        } else if self.take(&["disable"]) {
            SecurityChange::Enable(false)
        } else if self.take(&["force"]) {
            SecurityChange::Force(true)
        } else if self.take(&["no", "force"]) {
            SecurityChange::Force(false)
        } else if self.take(&["set", "mask", "for", "column"]) {
            let column = self.ident()?;
            self.expect(&["using"])?;
            SecurityChange::SetMask { column, using: self.expression()? }
        } else if self.take(&["drop", "mask", "for", "column"]) {
            SecurityChange::DropMask { column: self.ident()? }
        } else {
            return Err(self.unexpected(
                "ADD, DROP, RENAME or ALTER COLUMN, RENAME TO, OWNER TO, ENABLE or DISABLE ROW LEVEL SECURITY, \
                 SET or DROP MASK FOR COLUMN",
            ));
        };
        if matches!(change, SecurityChange::Enable(_) | SecurityChange::Force(_)) {
            self.expect(&["row", "level", "security"])?;
        }
        Ok(Statement::AlterTableSecurity(AlterTableSecurity { table, change }))
    }

    /// Reads an expression in parentheses and returns it as SQL.
    fn expression(&mut self) -> Result<String> {
        self.token(&Token::LParen, "(")?;
        let expr = self.0.parser.parse_expr().map_err(DataFusionError::from)?;
        self.token(&Token::RParen, ")")?;
        Ok(expr.to_string())
    }

    /// Reads `ALTER kind name OWNER TO role`.
    fn alter_owner(&mut self) -> Result<Option<Statement>> {
        if !self.sees(&["alter"]) {
            return Ok(None);
        }
        // Looks ahead over the name: other changes are read elsewhere.
        let mut at = 2;
        while matches!(self.0.parser.peek_nth_token(at + 1).token, Token::Period) {
            at += 2;
        }
        let is = |n: usize, wanted: &str| {
            matches!(&self.0.parser.peek_nth_token(n).token,
                Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
        };
        if !is(at + 1, "owner") || !is(at + 2, "to") {
            return Ok(None);
        }
        self.expect(&["alter"])?;
        let kind = self.word("a kind of object")?.to_lowercase();
        let name = self.name()?;
        self.expect(&["owner", "to"])?;
        let owner = self.role_name()?;
        Ok(Some(Statement::AlterOwner(AlterOwner { kind, name, owner })))
    }

    fn create_role(&mut self, is_user: bool) -> Result<Statement> {
        let if_not_exists = self.take(&["if", "not", "exists"]);
        let mut create = CreateRole {
            name: self.ident()?,
            options: RoleOptions::default(),
            if_not_exists,
            in_roles: Vec::new(),
            members: Vec::new(),
            admins: Vec::new(),
        };
        self.take(&["with"]);
        loop {
            if self.take(&["in", "role"]) || self.take(&["in", "group"]) {
                create.in_roles.extend(self.idents()?);
            } else if self.take(&["role"]) || self.take(&["user"]) {
                create.members.extend(self.idents()?);
            } else if self.take(&["admin"]) {
                create.admins.extend(self.idents()?);
            } else if !self.role_option(&mut create.options)? {
                break;
            }
        }
        create.options.login = create.options.login.or(is_user.then_some(true));
        Ok(Statement::CreateRole(Box::new(create)))
    }

    fn alter_role(&mut self) -> Result<Statement> {
        let role = self.role_name()?;
        if self.take(&["rename", "to"]) {
            let change = RoleChange::Rename(self.ident()?);
            return Ok(Statement::AlterRole(Box::new(AlterRole { role, change })));
        }
        let set = self.take(&["set", "attribute"]);
        if set || self.take(&["reset", "attribute"]) {
            let name = self.ident()?;
            let value = if set {
                if !self.take(&["to"]) {
                    self.token(&Token::Eq, "= or TO")?;
                }
                Some(self.option_value()?)
            } else {
                None
            };
            let change = RoleChange::Attribute { name, value };
            return Ok(Statement::AlterRole(Box::new(AlterRole { role, change })));
        }
        if self.sees(&["set"]) {
            let statement = self.0.parser.parse_statement().map_err(DataFusionError::from)?;
            let Ast::Set(set) = statement else { return Err(self.unexpected("a setting")) };
            let Statement::Set(set) = lower_set(set, "ALTER ROLE")? else {
                return Err(self.unexpected("a setting"));
            };
            let change = RoleChange::Setting { name: set.name, value: set.value };
            return Ok(Statement::AlterRole(Box::new(AlterRole { role, change })));
        }
        if self.take(&["reset"]) {
            let change = match self.take(&["all"]) {
                true => RoleChange::ResetSettings,
                false => RoleChange::Setting { name: self.setting_name()?, value: None },
            };
            return Ok(Statement::AlterRole(Box::new(AlterRole { role, change })));
        }
        self.take(&["with"]);
        let mut options = RoleOptions::default();
        let mut any = false;
        while self.role_option(&mut options)? {
            any = true;
        }
        if !any {
            return Err(self.unexpected("an option of a role such as LOGIN or PASSWORD"));
        }
        let change = RoleChange::Options(options);
        Ok(Statement::AlterRole(Box::new(AlterRole { role, change })))
    }

    /// Reads one option; `false` if none comes next.
    fn role_option(&mut self, options: &mut RoleOptions) -> Result<bool> {
        type Flag = fn(&mut RoleOptions) -> &mut Option<bool>;
        let flags: [(&str, &str, Flag); 7] = [
            ("superuser", "nosuperuser", |o| &mut o.superuser),
            ("login", "nologin", |o| &mut o.login),
            ("inherit", "noinherit", |o| &mut o.inherit),
            ("createrole", "nocreaterole", |o| &mut o.create_role),
            ("createcatalog", "nocreatecatalog", |o| &mut o.create_catalog),
            // PostgreSQL's word: its databases are the catalogs here.
            ("createdb", "nocreatedb", |o| &mut o.create_catalog),
            ("bypassrls", "nobypassrls", |o| &mut o.bypass_rls),
        ];
        for (yes, no, flag) in flags {
            for (word, value) in [(yes, true), (no, false)] {
                if self.take(&[word]) {
                    return match flag(options).replace(value) {
                        None => Ok(true),
                        Some(_) => Err(Error::new(
                            ErrorKind::Syntax,
                            format!("conflicting or redundant options: {}", word.to_uppercase()),
                        )),
                    };
                }
            }
        }
        if self.take(&["connection", "limit"]) {
            let text = self.option_value()?;
            let limit = text.parse().ok().filter(|limit| *limit >= -1).ok_or_else(|| {
                Error::new(ErrorKind::InvalidParameter, format!("invalid connection limit: {text}"))
            })?;
            options.connection_limit = Some(limit);
            return Ok(true);
        }
        if self.take(&["valid", "until"]) {
            options.valid_until = Some(self.string()?);
            return Ok(true);
        }
        let encrypted = self.take(&["encrypted"]);
        if encrypted || self.sees(&["password"]) {
            self.expect(&["password"])?;
            options.password = Some(match self.take(&["null"]) {
                true => None,
                false => Some(Secret::new(self.string()?)),
            });
            return Ok(true);
        }
        Ok(false)
    }

    fn drop_role(&mut self) -> Result<Statement> {
        let if_exists = self.take(&["if", "exists"]);
        Ok(Statement::DropRole(DropRole { names: self.idents()?, if_exists }))
    }

    fn grant(&mut self, is_grant: bool) -> Result<Statement> {
        let only_grant_option = !is_grant && self.take(&["grant", "option", "for"]);
        let only_admin_option = !is_grant && self.take(&["admin", "option", "for"]);
        let privileges = self.privileges()?;
        if !self.take(&["on"]) {
            return self.grant_role(is_grant, privileges, only_admin_option);
        }
        let target = self.grant_target()?;
        let grantees = self.grantees(is_grant)?;
        let option =
            if is_grant { self.take(&["with", "grant", "option"]) } else { only_grant_option };
        self.granted_by()?;
        let cascade = !is_grant && self.take(&["cascade"]);
        if !is_grant && !cascade {
            self.take(&["restrict"]);
        }
        Ok(Statement::GrantPrivileges(Box::new(GrantPrivileges {
            is_grant,
            privileges,
            target,
            grantees,
            option,
            cascade,
        })))
    }

    /// Goes on after `GRANT a, b`, which turned out to be names of roles.
    fn grant_role(
        &mut self,
        is_grant: bool,
        words: Vec<PrivilegeName>,
        only_admin_option: bool,
    ) -> Result<Statement> {
        if words.is_empty() || words.iter().any(|word| !word.columns.is_empty()) {
            return Err(self.unexpected("ON"));
        }
        let roles = words.into_iter().map(|word| word.word).collect();
        let members = self.grantees(is_grant)?;
        let (mut admin, mut inherit) = (only_admin_option.then_some(false), None);
        if is_grant && self.take(&["with"]) {
            loop {
                let option = match self.word("ADMIN, INHERIT or SET")?.to_lowercase().as_str() {
                    "admin" => Some(&mut admin),
                    "inherit" => Some(&mut inherit),
                    "set" => None,
                    _ => return Err(self.unexpected("ADMIN, INHERIT or SET")),
                };
                let value = !self.take(&["false"]);
                if value && !self.take(&["true"]) {
                    self.expect(&["option"])?;
                }
                if let Some(option) = option {
                    *option = Some(value);
                }
                if !self.0.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        self.granted_by()?;
        if !self.take(&["cascade"]) {
            self.take(&["restrict"]);
        }
        Ok(Statement::GrantRole(GrantRole { is_grant, roles, members, admin, inherit }))
    }

    fn default_privileges(&mut self) -> Result<Statement> {
        let mut roles = Vec::new();
        let mut schemas = Vec::new();
        loop {
            if self.take(&["for", "role"]) || self.take(&["for", "user"]) {
                roles.extend(self.role_names()?);
            } else if self.take(&["in", "schema"]) {
                schemas.extend(self.names()?);
            } else {
                break;
            }
        }
        let is_grant = self.take(&["grant"]);
        if !is_grant {
            self.expect(&["revoke"])?;
        }
        let only_option = !is_grant && self.take(&["grant", "option", "for"]);
        let privileges = self.privileges()?;
        self.expect(&["on"])?;
        let kinds = self.word("TABLES, SCHEMAS or another kind of object")?.to_lowercase();
        let grantees = self.grantees(is_grant)?;
        let option = if is_grant { self.take(&["with", "grant", "option"]) } else { only_option };
        if !self.take(&["cascade"]) {
            self.take(&["restrict"]);
        }
        Ok(Statement::AlterDefaultPrivileges(Box::new(AlterDefaultPrivileges {
            roles,
            schemas,
            is_grant,
            privileges,
            kinds,
            grantees,
            option,
        })))
    }

    /// Reads `ALL [PRIVILEGES]` (empty) or `SELECT (a, b), INSERT, …`.
    fn privileges(&mut self) -> Result<Vec<PrivilegeName>> {
        if self.take(&["all"]) {
            self.take(&["privileges"]);
            if !matches!(self.0.parser.peek_token().token, Token::LParen) {
                return Ok(Vec::new());
            }
            return Err(Error::unsupported("ALL (columns) is not supported")
                .with_hint("Name the privileges: GRANT SELECT (a, b) ON …"));
        }
        let mut privileges = Vec::new();
        loop {
            let word = self.ident()?;
            let mut columns = Vec::new();
            if self.0.parser.consume_token(&Token::LParen) {
                columns = self.idents()?;
                self.token(&Token::RParen, ")")?;
            }
            privileges.push(PrivilegeName { word, columns });
            if !self.0.parser.consume_token(&Token::Comma) {
                return Ok(privileges);
            }
        }
    }

    fn grant_target(&mut self) -> Result<GrantTarget> {
        if self.take(&["all"]) {
            let kinds = self.word("TABLES or another kind of object")?.to_lowercase();
            self.expect(&["in", "schema"])?;
            return Ok(GrantTarget::AllInSchemas { kinds, schemas: self.names()? });
        }
        let is_kind = match &self.0.parser.peek_nth_token(1).token {
            Token::Word(word) => {
                word.quote_style.is_some()
                    || !["to", "from"].iter().any(|end| word.value.eq_ignore_ascii_case(end))
            }
            _ => false,
        };
        let kind = match is_kind {
            true => self.word("a kind of object")?.to_lowercase(),
            false => "table".to_owned(),
        };
        let mut names = Vec::new();
        loop {
            names.push(self.name()?);
            // `FUNCTION f(int)`: functions have one meaning here, whatever their arguments.
            if self.0.parser.consume_token(&Token::LParen) {
                while !self.0.parser.consume_token(&Token::RParen) {
                    if matches!(self.0.parser.next_token().token, Token::EOF) {
                        return Err(self.unexpected(")"));
                    }
                }
            }
            if !self.0.parser.consume_token(&Token::Comma) {
                return Ok(GrantTarget::Objects { kind, names });
            }
        }
    }

    fn grantees(&mut self, is_grant: bool) -> Result<Vec<RoleName>> {
        self.expect(&[if is_grant { "to" } else { "from" }])?;
        self.role_names()
    }

    fn granted_by(&mut self) -> Result<()> {
        if self.take(&["granted", "by"]) {
            self.role_name()?;
        }
        Ok(())
    }

    fn word(&mut self, expected: &str) -> Result<String> {
        match self.0.parser.peek_token().token {
            Token::Word(word) => {
                self.0.parser.next_token();
                Ok(word.value)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn role_names(&mut self) -> Result<Vec<RoleName>> {
        let mut names = vec![self.role_name()?];
        while self.0.parser.consume_token(&Token::Comma) {
            names.push(self.role_name()?);
        }
        Ok(names)
    }

    fn role_name(&mut self) -> Result<RoleName> {
        self.take(&["group"]);
        for (word, role) in [
            ("current_user", RoleName::Current),
            ("current_role", RoleName::Current),
            ("session_user", RoleName::Session),
            ("public", RoleName::Public),
        ] {
            if self.take(&[word]) {
                return Ok(role);
            }
        }
        self.ident().map(RoleName::Named)
    }

    fn idents(&mut self) -> Result<Vec<String>> {
        let mut names = vec![self.ident()?];
        while self.0.parser.consume_token(&Token::Comma) {
            names.push(self.ident()?);
        }
        Ok(names)
    }

    fn names(&mut self) -> Result<Vec<Name>> {
        let mut names = vec![self.name()?];
        while self.0.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        Ok(names)
    }
}
