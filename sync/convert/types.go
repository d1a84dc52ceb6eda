package convert

import "slices"

// EventTypes returns the types of the events that have an effect, or that tell
// of the delivery to us, in no order.
func EventTypes() []string {
	var types []string
	for name, d := range decisions {
		if d.effect != nil || d.why == ownHealth || d.why == ownLimits {
			types = append(types, name)
		}
	}
	return types
}

// KnownType tells whether the type is one of those that could concern the
// graph, and whether Okta sends it to event hooks.
func KnownType(eventType string) (known, hook bool) {
	d, known := decisions[eventType]
	return known, d.hook
}

// HookTypes returns the types that an event hook must be subscribed to: those
// that have an effect and that Okta sends to hooks. They are sorted.
func HookTypes() []string {
	var types []string
	for name, d := range decisions {
		if d.effect != nil && d.hook {
			types = append(types, name)
		}
	}
	slices.Sort(types)
	return types
}

// OneEngineOnly tells whether only one of Okta's two engines, Identity Engine and
// Classic, raises the type: an org of the other may not offer it to hooks.
func OneEngineOnly(eventType string) bool {
	switch eventType {
	case "user.mfa.factor.suspend", "user.mfa.factor.unsuspend", "user.mfa.factor.reset_all":
		return true
	}
	return false
}
