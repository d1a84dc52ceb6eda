package convert

// decision says what follows from the events of a type.
type decision struct {
	hook      bool                 // event hooks can send it; else the System Log alone has it
	effect    func(*reading) error // nil: ignored
	onFailure bool                 // a failure is what it tells of
	why       string               // of an ignored type
}

func hooked(effect func(*reading) error) decision { return decision{hook: true, effect: effect} }
func logged(effect func(*reading) error) decision { return decision{effect: effect} }
func ignoredHook(why string) decision             { return decision{hook: true, why: why} }
func ignoredLog(why string) decision              { return decision{why: why} }

// Reasons that several types share.
const (
	noRoles          = "roles of administrators are not collected"
	noDevices        = "devices are not collected"
	noPolicies       = "policies are not collected"
	noAuthenticators = "authenticators of the org are not collected; factors follow with their own events"
	noRules          = "group rules are not collected; what they do comes as membership events"
	noSchemas        = "schemas and mappings are not collected; profiles follow with their own events"
	noSignIns        = "a sign-in changes nothing but lastLogin, which is not worth a read"
	noProvisioning   = "only the state of provisioning changed, which the graph does not hold"
	ownHealth        = "it tells of the delivery to us, not of the org"
	ownLimits        = "the limiter sees the limits in every answer"
	nothing          = "nothing changed that the graph holds"
)

// decisions holds every event type that Okta is known to have and that could
// concern the graph. Types that are not here are ignored.
var decisions = map[string]decision{
	"user.lifecycle.create":               hooked(lifecycle),
	"user.lifecycle.activate":             hooked(lifecycle),
	"user.lifecycle.deactivate":           hooked(lifecycle),
	"user.lifecycle.reactivate":           hooked(reactivated),
	"user.lifecycle.suspend":              hooked(lifecycle),
	"user.lifecycle.unsuspend":            hooked(lifecycle),
	"user.lifecycle.delete.initiated":     hooked(userGone),
	"user.lifecycle.delete.completed":     logged(userGone),
	"user.lifecycle.password_mass_expiry": logged(changedUsers),
	"user.lifecycle.jit.error.read_only":  ignoredLog("no user was made"),

	"user.account.update_profile":                        hooked(user),
	"user.account.update_user_type":                      logged(user),
	"user.account.update_primary_email":                  logged(user),
	"user.account.update_secondary_email":                logged(user),
	"user.account.lock":                                  {hook: true, effect: actor, onFailure: true},
	"user.account.lock.limit":                            {effect: actor, onFailure: true},
	"user.account.unlock":                                hooked(actor),
	"user.account.unlock_by_admin":                       hooked(user),
	"user.account.unlock_failure":                        ignoredLog("the user stays locked"),
	"user.account.unlock_token":                          ignoredLog("the user stays locked until the token is used"),
	"user.account.update_password":                       hooked(user),
	"user.account.reset_password":                        hooked(user),
	"user.account.expire_password":                       logged(user),
	"user.account.privilege.grant":                       ignoredHook(noRoles),
	"user.account.privilege.revoke":                      ignoredHook(noRoles),
	"user.account.report_suspicious_activity_by_enduser": ignoredHook(nothing),
	"user.account.subscriptions.update":                  ignoredHook(nothing),
	"user.account.preference_update":                     ignoredLog("preferences are outside the profile"),
	"user.import.password":                               hooked(user),
	"user.realm.update":                                  logged(user),

	"user.mfa.factor.activate":    hooked(factors),
	"user.mfa.factor.deactivate":  hooked(factors),
	"user.mfa.factor.update":      hooked(factors),
	"user.mfa.factor.suspend":     hooked(factors),
	"user.mfa.factor.unsuspend":   hooked(factors),
	"user.mfa.factor.reset_all":   hooked(factors),
	"user.mfa.promote_enrollment": ignoredHook("the enrolment comes as user.mfa.factor.activate"),
	"user.mfa.attempt_bypass":     ignoredLog(nothing),

	"system.mfa.preregister.initiate": ignoredHook("nothing is enrolled yet"),
	"system.mfa.factor.activate":      ignoredLog("it is a setting of the org, which is not collected"),
	"system.mfa.factor.deactivate":    ignoredLog("the factors of all users are read by the next reconcile"),

	"security.authenticator.lifecycle.create":     ignoredHook(noAuthenticators),
	"security.authenticator.lifecycle.activate":   ignoredHook(noAuthenticators),
	"security.authenticator.lifecycle.deactivate": ignoredHook("the factors of all users are read by the next reconcile"),
	"security.authenticator.lifecycle.update":     ignoredHook(noAuthenticators),

	"group.lifecycle.create":                                 hooked(group),
	"group.lifecycle.delete":                                 hooked(groupGone),
	"group.profile.update":                                   hooked(group),
	"group.user_membership.add":                              hooked(joined),
	"group.user_membership.remove":                           hooked(left),
	"group.user_membership.rule.trigger":                     ignoredLog(noRules),
	"group.user_membership.rule.evaluation":                  ignoredLog(noRules),
	"group.user_membership.rule.deactivated":                 ignoredLog(noRules),
	"group.user_membership.rule.invalidate":                  ignoredLog(noRules),
	"group.user_membership.rule.error":                       ignoredLog(noRules),
	"group.user_membership.rule.add_exclusion":               ignoredLog(noRules),
	"group.application_assignment.add":                       hooked(groupAssigned),
	"group.application_assignment.remove":                    hooked(groupUnassigned),
	"group.application_assignment.update":                    hooked(groupAssignmentSet),
	"group.application_assignment.skip_assignment_reconcile": logged(appUsers),
	"group.privilege.grant":                                  ignoredHook(noRoles),
	"group.privilege.revoke":                                 ignoredHook(noRoles),

	"system.import.start":                     ignoredHook("what an import does is known at its end"),
	"system.import.complete":                  hooked(imported),
	"system.import.group.create":              hooked(group),
	"system.import.group.update":              logged(group),
	"system.import.group.delete":              hooked(confirmGroup),
	"system.import.user.create":               logged(importedLifecycle),
	"system.import.user.update":               logged(importedUser),
	"system.import.user.delete":               logged(importedLifecycle),
	"system.import.user.suspend":              logged(importedLifecycle),
	"system.import.user.unsuspend":            logged(importedLifecycle),
	"system.import.group_membership.complete": logged(changedGroups),
	"system.import.roadblock":                 ignoredHook("the import stopped; what it did before is read by the next reconcile"),

	"app.user_management": hooked(members),
	"app.user_management.user_group_import.upsert_success": hooked(group),
	"app.user_management.user_group_import.delete_success": logged(confirmGroup),

	"application.lifecycle.create":                hooked(app),
	"application.lifecycle.update":                hooked(app),
	"application.lifecycle.activate":              hooked(app),
	"application.lifecycle.deactivate":            hooked(app),
	"application.lifecycle.delete":                hooked(appGone),
	"application.user_membership.add":             hooked(userAssigned),
	"application.user_membership.remove":          hooked(userUnassigned),
	"application.user_membership.update":          hooked(userAssignmentSet),
	"application.user_membership.change_password": hooked(userAssignmentSet),
	"application.user_membership.change_username": logged(userAssignmentSet),
	"application.user_membership.provision":       logged(userAssignmentSet),
	"application.user_membership.deprovision":     logged(userAssignmentSet),
	"application.user_membership.approve":         logged(userAssignmentSet),
	"application.user_membership.revoke":          logged(userAssignmentSet),
	"application.user_membership.restore":         logged(userAssignmentSet),
	"application.user_membership.show_password":   ignoredLog(nothing),

	"application.provision.user.push":                  hooked(userAssignmentSet),
	"application.provision.user.push_profile":          hooked(userAssignmentSet),
	"application.provision.user.import_profile":        hooked(userAssignmentSet),
	"application.provision.user.reactivate":            hooked(userAssignmentSet),
	"application.provision.user.sync":                  hooked(userAssignmentSet),
	"application.provision.user.delete":                hooked(userAssignmentSet),
	"application.provision.user.deactivate":            ignoredLog(noProvisioning),
	"application.provision.user.deprovision":           ignoredLog(noProvisioning),
	"application.provision.group_push.mapping.created": ignoredLog("group push is not collected"),
	"application.policy.sign_on.update":                ignoredLog(noPolicies),
	"application.policy.sign_on.deny_access":           ignoredHook(nothing),

	"app.oauth2.client.privilege.grant":      ignoredHook(noRoles),
	"app.oauth2.client.privilege.revoke":     ignoredHook(noRoles),
	"app.oauth2.client.lifecycle.create":     logged(client),
	"app.oauth2.client.lifecycle.update":     logged(client),
	"app.oauth2.client.lifecycle.activate":   logged(client),
	"app.oauth2.client.lifecycle.deactivate": logged(client),
	"app.oauth2.client.lifecycle.delete":     logged(client),

	"iam.role.create":                  ignoredHook(noRoles),
	"iam.role.update":                  ignoredHook(noRoles),
	"iam.role.delete":                  ignoredHook(noRoles),
	"iam.role.permissions.add":         ignoredHook(noRoles),
	"iam.role.permissions.delete":      ignoredHook(noRoles),
	"iam.resourceset.create":           ignoredHook(noRoles),
	"iam.resourceset.update":           ignoredHook(noRoles),
	"iam.resourceset.delete":           ignoredHook(noRoles),
	"iam.resourceset.resources.add":    ignoredHook(noRoles),
	"iam.resourceset.resources.delete": ignoredHook(noRoles),
	"iam.resourceset.resources.update": ignoredHook(noRoles),
	"iam.resourceset.bindings.add":     ignoredHook(noRoles),
	"iam.resourceset.bindings.delete":  ignoredHook(noRoles),

	"device.enrollment.create":    ignoredHook(noDevices),
	"device.lifecycle.activate":   ignoredHook(noDevices),
	"device.lifecycle.deactivate": ignoredHook(noDevices),
	"device.lifecycle.suspend":    ignoredHook(noDevices),
	"device.lifecycle.unsuspend":  ignoredHook(noDevices),
	"device.lifecycle.delete":     ignoredHook(noDevices),
	"device.user.add":             ignoredHook(noDevices),
	"device.user.remove":          ignoredHook(noDevices),

	"policy.lifecycle.activate":   ignoredHook(noPolicies),
	"policy.lifecycle.deactivate": ignoredHook(noPolicies),
	"policy.lifecycle.update":     ignoredHook(noPolicies),
	"policy.lifecycle.create":     ignoredLog(noPolicies),
	"policy.lifecycle.delete":     ignoredLog(noPolicies),
	"policy.rule.add":             ignoredHook(noPolicies),
	"policy.rule.update":          ignoredHook(noPolicies),
	"policy.rule.activate":        ignoredHook(noPolicies),
	"policy.rule.deactivate":      ignoredHook(noPolicies),
	"policy.rule.delete":          ignoredHook(noPolicies),

	"directory.user_profile.update":             ignoredLog(noSchemas),
	"directory.non_default_user_profile.create": ignoredLog(noSchemas),
	"directory.app_user_profile.update":         ignoredLog(noSchemas),
	"directory.mapping.update":                  ignoredLog(noSchemas),

	"system.api_token.create":         ignoredHook("tokens are not collected"),
	"system.api_token.revoke":         ignoredHook("tokens are not collected; a refused read tells of ours"),
	"system.org.rate_limit.warning":   ignoredHook(ownLimits),
	"system.org.rate_limit.violation": ignoredHook(ownLimits),

	"event_hook.delivery":    ignoredLog(ownHealth),
	"event_hook.updated":     ignoredLog(ownHealth),
	"event_hook.deactivated": ignoredLog(ownHealth),
	"event_hook.deleted":     ignoredLog(ownHealth),
	"event_hook.verified":    ignoredLog(ownHealth),

	"user.session.start":               ignoredHook(noSignIns),
	"user.session.end":                 ignoredHook(noSignIns),
	"user.session.clear":               ignoredHook(noSignIns),
	"user.authentication.sso":          ignoredHook(noSignIns),
	"user.authentication.auth_via_mfa": ignoredHook(noSignIns),
}
