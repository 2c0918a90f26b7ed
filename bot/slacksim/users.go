package slacksim

import "slices"

func usersInfo(s *Server, c *call) object {
	if c.Get("user") == "" {
		return missing("user")
	}
	u := s.user(c.Get("user"))
	if u == nil {
		return failed("user_not_found")
	}
	profile := object{"real_name": u.RealName, "display_name": u.Name, "real_name_normalized": u.RealName, "display_name_normalized": u.Name, "team": s.team(u)}
	if u.Email != "" && s.app.may("users:read.email") {
		profile["email"] = u.Email
	}
	o := object{"id": u.ID, "team_id": s.team(u), "name": u.Name, "real_name": u.RealName, "deleted": u.Deleted, "is_bot": u.Bot, "is_app_user": u.Bot, "updated": 1700000000, "profile": profile}
	if u.Stranger {
		o["is_stranger"] = true
	}
	if !u.Deleted {
		o["is_restricted"], o["is_ultra_restricted"] = u.Restricted || u.UltraRestricted, u.UltraRestricted
		o["is_admin"], o["is_owner"], o["is_primary_owner"] = false, false, false
		o["tz"], o["tz_label"], o["tz_offset"] = "Europe/Berlin", "Central European Time", 3600
	}
	return object{"user": o}
}

// userGroupUsers lists who is in a user group. There is one if anybody is.
func userGroupUsers(s *Server, c *call) object {
	group := c.Get("usergroup")
	if group == "" {
		return missing("usergroup")
	}
	var users []string
	for _, u := range s.users {
		if slices.Contains(u.Groups, group) {
			users = append(users, u.ID)
		}
	}
	if users == nil {
		return failed("no_such_subteam")
	}
	return object{"users": users}
}
