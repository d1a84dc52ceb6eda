package convert

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestApplicationNames(t *testing.T) {
	type names struct {
		Short, Vendor string
		Account       any
		Multi         bool
	}
	for name, want := range map[string]names{
		"amazon_aws":             {"aws", "Amazon Web Services", "aws_account", true},
		"cloudconsole":           {"gcp", "Google", "gcp_account", true},
		"google":                 {"google", "Google", "google_account", true},
		"githubcloud":            {"githubcloud", "GitHub", "github_account", true},
		"office365":              {"office365", "Microsoft", "office365_account", true},
		"hubspotsaml":            {"hubspot", "HubSpot", "hubspot_account", false},
		"statuspage_saml":        {"statuspage", "Atlassian", "statuspage_account", false},
		"template_saml_2_0":      {"template", "Template", "template_account", false},
		"samlsaml":               {"saml", "Saml", "saml_account", false},
		"saml":                   {"saml", "Saml", "saml_account", false},
		"_saml":                  {"_saml", "Saml", "_saml_account", false},
		"acme_my_portal_1":       {"my_portal", "My Portal", "my_portal_account", false},
		"acme_portal_v2beta":     {"portal", "Portal", "portal_account", false},
		"a__1":                   {"a__1", "A 1", "a__1_account", false},
		"acme_1":                 {"acme_1", "Acme 1", "acme_1_account", false},
		"okta_browser_plugin":    {"okta_browser_plugin", "Okta Browser Plugin", "okta_browser_plugin_account", false},
		"new_relic2":             {"new_relic2", "New Relic 2", "new_relic2_account", false},
		"atlassianjirabitbucket": {"atlassianjirabitbucket", "Atlassian", []string{"jira_account", "bitbucket_team"}, false},
		"meraki":                 {"meraki", "Cisco Meraki", "cisco_meraki_account", false},
		"ciscomeraki":            {"ciscomeraki", "Cisco Meraki", "cisco_meraki_account", false},
		"snykwordpress":          {"snykwordpress", "WordPress / WP Engine", "wordpress_account", false},
		"amazonaws":              {"amazonaws", "Amazon Web Services", "amazonaws_account", false},
		"amazon_prime":           {"amazon_prime", "Amazon.com", "amazon_prime_account", false},
		"googlegithub":           {"googlegithub", "Google", "googlegithub_account", false},
		"mygcp":                  {"mygcp", "Mygcp", "mygcp_account", false},
		"j1dev-x":                {"j1dev-x", "JupiterOne", "jupiterone_account", false},
		"xj1dev":                 {"xj1dev", "Xj 1 Dev", "xj1dev_account", false},
	} {
		short := shortName(name)
		got := names{short, vendorName(short), accountType(short), multiInstance(short)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]int64{
		"2026-03-17T09:02:12.020Z":      1773738132020,
		"2026-03-17T09:02:12.020+00:00": 1773738132020,
		"2026-03-17T11:02:12+0200":      1773738132000,
		"2026-03-17T09:02:12":           1773738132000,
		"2026-03-17T09:02":              1773738120000,
		"2026-03-17":                    1773705600000, // midnight, UTC
		"1970-01-01T00:00:00.000Z":      0,
	} {
		if got, ok := millis(text); !ok || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", " ", "20240101", "1700000000000", "yesterday", "2026-02-30", "2026-13-01T00:00:00Z", "17.3.2026"} {
		if got, ok := millis(text); ok {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

func TestSecretsAreLeftOut(t *testing.T) {
	for name, want := range map[string]bool{
		"password": true, "wifiPassword": true, "passwd": true, "apiToken": true, "clientSecret": true, "awsCredentials": true,
		"apiKey": true, "privateKey": true, "userPwd": true, "pin": true, "doorPin": true, "recoveryQuestion": true,
		"secretary": false, "secretaryEmail": false, "secretarySecret": true, "pinned": false, "shipping": false,
		"keyContact": false, "department": false, "passportCountry": false,
	} {
		if got := secret(name); got != want {
			t.Errorf("%s: secret is %v", name, got)
		}
	}
}
