package convert

import (
	"maps"

	"github.com/oktasync/oktasync/sync/graph"
)

// has is an edge from the account to something it holds.
func (o Org) has(what, key string, p graph.Properties) graph.Object {
	return edge("okta_account_has_"+what, "HAS", o.AccountKey()+"|has|"+key, o.AccountKey(), key, p)
}

// edge is a relationship. Properties that it has of itself are given by p.
func edge(typ, verb, key, from, to string, p graph.Properties) graph.Object {
	all := graph.Properties{"displayName": verb}
	maps.Copy(all, p)
	return graph.Object{Relationship: &graph.Relationship{
		Key: key, Type: typ, Class: verb, From: from, To: to, Properties: all,
	}}
}

// with adds properties to those that ids give. Where both have one, the id is
// right.
func with(ids, more graph.Properties) graph.Properties {
	all := make(graph.Properties, len(ids)+len(more))
	maps.Copy(all, more)
	maps.Copy(all, ids)
	return all
}
