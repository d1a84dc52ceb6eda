# The event hook of one org. Apply it once the service knows the instance (its
# instance event was sent, or it is the default): Okta verifies the hook at once.
#
#   export OKTA_API_TOKEN=…              # of a user who may manage event hooks
#   export TF_VAR_hook_secret=…          # the instance's hook secret
#   terraform apply -var okta_org=acme -var host=hooks.acme.com -var instance=acme
#
# The secret ends up in Terraform's state: keep that encrypted and private.
# `oktasync hook register` does the same without Terraform. Use one of the two: each
# would undo what the other changed.

terraform {
  required_version = ">= 1.2"

  required_providers {
    okta = {
      source  = "okta/okta"
      version = ">= 4.0"
    }
  }
}

variable "okta_org" {
  description = "Name of the org: acme of acme.okta.com."
  type        = string
}

variable "okta_domain" {
  description = "Domain of the org: okta.com, oktapreview.com, okta-emea.com."
  type        = string
  default     = "okta.com"
}

variable "host" {
  description = "Public host that leads to /hooks/okta/ of the service, with a valid certificate."
  type        = string
}

variable "instance" {
  description = "Id of the instance in oktasync."
  type        = string
  default     = "default"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.instance))
    error_message = "An instance has 1 to 64 letters, digits, _ or -."
  }
}

variable "hook_secret" {
  description = "What Okta sends as Authorization, without Bearer: a secret of the instance."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.hook_secret) >= 16 && length(var.hook_secret) <= 4096
    error_message = "A hook secret has 16 to 4096 characters. Make one with: openssl rand -hex 32."
  }
}

provider "okta" {
  org_name = var.okta_org
  base_url = var.okta_domain
}

# Leave out a type that your org does not offer: Okta refuses the whole hook for it.
resource "okta_event_hook" "oktasync" {
  name = "oktasync ${var.instance}"

  events = [
    "app.user_management",
    "app.user_management.user_group_import.upsert_success",
    "application.lifecycle.activate",
    "application.lifecycle.create",
    "application.lifecycle.deactivate",
    "application.lifecycle.delete",
    "application.lifecycle.update",
    "application.provision.user.delete",
    "application.provision.user.import_profile",
    "application.provision.user.push",
    "application.provision.user.push_profile",
    "application.provision.user.reactivate",
    "application.provision.user.sync",
    "application.user_membership.add",
    "application.user_membership.change_password",
    "application.user_membership.remove",
    "application.user_membership.update",
    "group.application_assignment.add",
    "group.application_assignment.remove",
    "group.application_assignment.update",
    "group.lifecycle.create",
    "group.lifecycle.delete",
    "group.profile.update",
    "group.user_membership.add",
    "group.user_membership.remove",
    "system.import.complete",
    "system.import.group.create",
    "system.import.group.delete",
    "user.account.lock",
    "user.account.reset_password",
    "user.account.unlock",
    "user.account.unlock_by_admin",
    "user.account.update_password",
    "user.account.update_profile",
    "user.import.password",
    "user.lifecycle.activate",
    "user.lifecycle.create",
    "user.lifecycle.deactivate",
    "user.lifecycle.delete.initiated",
    "user.lifecycle.reactivate",
    "user.lifecycle.suspend",
    "user.lifecycle.unsuspend",
    "user.mfa.factor.activate",
    "user.mfa.factor.deactivate",
    "user.mfa.factor.reset_all",
    "user.mfa.factor.suspend",
    "user.mfa.factor.unsuspend",
    "user.mfa.factor.update",
  ]

  channel = {
    type    = "HTTP"
    version = "1.0.0"
    uri     = "https://${var.host}/hooks/okta/${var.instance}"
  }

  auth = {
    type  = "HEADER"
    key   = "Authorization"
    value = var.hook_secret
  }
}

# A hook whose address or secret changed is unverified, and Okta sends nothing
# until it is verified again.
resource "okta_event_hook_verification" "oktasync" {
  event_hook_id = okta_event_hook.oktasync.id

  lifecycle {
    replace_triggered_by = [okta_event_hook.oktasync]
  }
}

output "hook_id" {
  value = okta_event_hook.oktasync.id
}
