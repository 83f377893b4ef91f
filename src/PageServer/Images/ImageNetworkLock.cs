using System.Text.Json.Serialization;

namespace PostCopy.Images;

/// <summary>How CRIU blocked the network of the dumped processes (the numbers of inventory.img, which are not those of CRIU's RPC).</summary>
public enum ImageNetworkLock
{
    /// <summary>With iptables rules.</summary>
    [JsonStringEnumMemberName("iptables")]
    Iptables = 0,

    /// <summary>With an nftables table named after the run id.</summary>
    [JsonStringEnumMemberName("nftables")]
    Nftables = 1,

    /// <summary>Not at all; somebody else does.</summary>
    [JsonStringEnumMemberName("skip")]
    Skip = 2,
}
