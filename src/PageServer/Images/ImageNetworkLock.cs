namespace PostCopy.Images;

/// <summary>How CRIU blocked the network of the dumped processes (the numbers of inventory.img, which are not those of CRIU's RPC).</summary>
public enum ImageNetworkLock
{
    /// <summary>With iptables rules.</summary>
    Iptables = 0,

    /// <summary>With an nftables table named after the run id.</summary>
    Nftables = 1,

    /// <summary>Not at all; somebody else does.</summary>
    Skip = 2,
}
