package convert

import (
	"regexp"
	"strings"
)

// What the name of an application says, by the rules of JupiterOne's
// integration (data-model.md section 4): queries and mapping rules rest on them.

var (
	samlName  = regexp.MustCompile(`(\w+)saml`)
	digits    = regexp.MustCompile(`[0-9]`)
	awsIDPArn = regexp.MustCompile(`^arn:aws:iam::(\d+):`)
)

// shortName of an application: hubspotsaml is hubspot, acme_my_portal_1, the
// form of custom applications, my_portal.
func shortName(name string) string {
	short := name
	switch name {
	case "amazon_aws":
		short = "aws"
	case "cloudconsole":
		short = "gcp"
	default:
		if m := samlName.FindStringSubmatch(name); m != nil {
			short = strings.TrimSuffix(m[1], "_")
		} else if from, to := strings.Index(name, "_"), strings.LastIndex(name, "_"); from < to && digits.MatchString(name[to:]) {
			short = name[from+1 : to]
		}
	}
	return first(short, name)
}

// vendors are tried in this order; the first name found in the short name wins.
var vendors = []struct{ contains, vendor string }{
	{"wordpress", "WordPress / WP Engine"},
	{"threatstack", "Threat Stack"},
	{"textmagic", "TextMagic"},
	{"sumologic", "Sumo Logic"},
	{"statuspage", "Atlassian"},
	{"jira", "Atlassian"},
	{"bitbucket", "Atlassian"},
	{"trendmicro", "Trend Micro"},
	{"snyk", "Snyk"},
	{"smallimprovements", "Small Improvements"},
	{"ringcentral", "RingCentral"},
	{"pritunl", "Pritunl"},
	{"paylocity", "Paylocity"},
	{"paloalto", "Palo Alto Networks"},
	{"pagerduty", "PagerDuty"},
	{"office365", "Microsoft"},
	{"naviabenefits", "Navia Benefits Solutions"},
	{"modeanalytics", "Mode Analytics"},
	{"meraki", "Cisco Meraki"},
	{"mcafee", "McAfee"},
	{"markmonitor", "Mark Monitor"},
	{"leavelogic", "LeaveLogic"},
	{"jamf", "Jamf"},
	{"gotomeeting", "LogMeIn"},
	{"logmein", "LogMeIn"},
	{"google", "Google"},
	{"=cloudconsole", "Google"},
	{"=gcp", "Google"},
	{"golinks", "GoLinks"},
	{"github", "GitHub"},
	{"floqast", "FloQast"},
	{"fireeye", "FireEye"},
	{"invision", "InVision"},
	{"hubspot", "HubSpot"},
	{"hellosign", "HelloSign"},
	{"hackerone", "HackerOne"},
	{"easecentral", "EaseCentral"},
	{"dropbox", "Dropbox"},
	{"dome9", "Dome9"},
	{"docusign", "DocuSign"},
	{"digicert", "DigiCert"},
	{"dashlane", "Dashlane"},
	{"cultureamp", "Culture Amp"},
	{"coderpad", "CoderPad"},
	{"crowdstrike", "CrowdStrike"},
	{"carbonblack", "Carbon Black"},
	{"bamboohr", "BambooHR"},
	{"ataata", "Mimecast"},
	{"mimecast", "Mimecast"},
	{"airwatch", "VMware"},
	{"aws", "Amazon Web Services"},
	{"amazon", "Amazon.com"},
	{"adobe", "Adobe"},
	{"jupiterone", "JupiterOne"},
	{"^j1dev", "JupiterOne"},
	{"lifeomic", "LifeOmic"},
}

// vendorName returns the vendor of a short name, else the name in start case.
func vendorName(short string) string {
	for _, v := range vendors {
		if named(short, v.contains) {
			return v.vendor
		}
	}
	return startCase(short)
}

// named tells whether a name contains the text; with = before it, equals it;
// with ^, starts with it.
func named(name, text string) bool {
	if rest, ok := strings.CutPrefix(text, "="); ok {
		return name == rest
	}
	if rest, ok := strings.CutPrefix(text, "^"); ok {
		return strings.HasPrefix(name, rest)
	}
	return strings.Contains(name, text)
}

// accountType returns the entity type of the account that the application
// leads to; two for an application of two products.
func accountType(short string) any {
	if short == "atlassianjirabitbucket" {
		return []string{"jira_account", "bitbucket_team"}
	}
	for _, t := range []struct{ contains, account string }{
		{"=ciscomeraki", "cisco_meraki_account"},
		{"=meraki", "cisco_meraki_account"},
		{"wordpress", "wordpress_account"},
		{"snyk", "snyk_account"},
		{"pritunl", "pritunl_account"},
		{"githubcloud", "github_account"},
		{"lifeomic", "lifeomic_account"},
		{"jupiterone", "jupiterone_account"},
		{"^j1dev", "jupiterone_account"},
	} {
		if named(short, t.contains) {
			return t.account
		}
	}
	return short + "_account"
}

// multiInstance tells whether an organisation usually has several accounts of
// the vendor.
func multiInstance(short string) bool {
	switch short {
	case "aws", "githubcloud", "gcp", "google", "office365":
		return true
	}
	return false
}
